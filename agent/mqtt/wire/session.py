"""What the broker says besides messages: whether we are in, what it granted, and when it parts from us. No I/O."""

import asyncio

from agent.mqtt.wire import codec
from agent.mqtt.wire.reasons import said

KEEPALIVE_SECONDS = 60
_SUBSCRIBE_ID = 1


class Session:
    """Of one connection. What `answer` and `subscribe` return is to be sent."""

    def __init__(self, filters: tuple[str, ...], *, adopted: bool) -> None:
        """`adopted`: another process was welcomed."""
        loop = asyncio.get_running_loop()
        self._filters = filters
        self.welcomed: asyncio.Future[None] = loop.create_future()
        self.subscribed: asyncio.Future[None] = loop.create_future()
        self.is_new = False
        """The broker knew no session of ours."""
        self.keepalive_seconds = KEEPALIVE_SECONDS
        self.parting = ""
        """Why the connection is at its end once all before it was read; empty while it isn't."""
        if adopted:
            self.welcomed.set_result(None)

    def subscribe(self) -> bytes:
        return codec.subscribe(_SUBSCRIBE_ID, self._filters)

    def answer(self, control: codec.Control) -> bytes:
        match control:
            case codec.Pubrel(packet_id):
                return codec.complete(packet_id)
            case codec.Connack(present, reason, keepalive_seconds):
                if not self.welcomed.done():
                    return self._welcome(present, reason, keepalive_seconds)
            case codec.Suback(_, reasons):
                self._granted(reasons)
            case codec.Disconnect(reason):
                self.parting = said(reason)
            case codec.Pingresp():
                pass
        return b""

    def _welcome(self, session_present: bool, reason: int, keepalive_seconds: int | None) -> bytes:
        if reason >= 0x80:
            self.parting = said(reason)
            return b""
        self.keepalive_seconds = keepalive_seconds or KEEPALIVE_SECONDS
        self.is_new = not session_present
        self.welcomed.set_result(None)
        return self.subscribe()

    def _granted(self, reasons: tuple[int, ...]) -> None:
        refused = [f"{f}: {said(r)}" for f, r in zip(self._filters, reasons, strict=False) if r >= 0x80]
        if refused or len(reasons) != len(self._filters):
            self.parting = f"subscription refused: {', '.join(refused) or 'not by its number of filters'}"
        elif not self.subscribed.done():
            self.subscribed.set_result(None)
