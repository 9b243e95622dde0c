"""Calls from central to a node, over the node's control lane."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from central.refusal import RefusedError, refused, relayed
from storeedge.v1.control_pb2 import Call, CallCancel, CallCredit, CallReply, CentralFrame

MAX_CALLS = 64  # at once, on one node
CREDIT = 16  # replies a node may be ahead of its caller
GRACE_SECONDS = 2.0  # the node's own deadline comes first, and has the better reason


class _Open:
    """One call under way."""

    def __init__(self) -> None:
        self.replies: asyncio.Queue[bytes | RefusedError | None] = asyncio.Queue()
        self.credit = CREDIT


class Calls:
    """The calls under way on one session."""

    def __init__(self, send: Callable[[CentralFrame], Awaitable[None]], offer: Callable[[CentralFrame], None]) -> None:
        """`send` waits for room in the session, `offer` drops the frame when there is none."""
        self._send, self._offer = send, offer
        self._open: dict[int, _Open] = {}
        self._last_id = 0

    async def call(self, method: str, payload: bytes, deadline_milli: int, principal: str) -> AsyncGenerator[bytes]:
        """The replies, one after the other. Closing the iterator early cancels the call on the node.

        Raises RefusedError with what the node answered, or NODE_AWAY, NO_ROOM, DEADLINE.
        """
        if len(self._open) >= MAX_CALLS:
            raise refused("NO_ROOM", f"{MAX_CALLS} calls are under way on this node")
        self._last_id += 1
        number, call = self._last_id, _Open()
        self._open[number] = call
        ends_at = asyncio.get_running_loop().time() + deadline_milli / 1000 + GRACE_SECONDS
        request = Call(
            id=number,
            method=method,
            deadline_milli=deadline_milli,
            payload=payload,
            principal=principal,
            credit=CREDIT,
        )
        ended = False
        try:
            await self._send(CentralFrame(call=request))
            while (reply := await _next(call, ends_at, deadline_milli)) is not None:
                yield reply
                await self._pay(number, call)
            ended = True
        finally:
            del self._open[number]
            if not ended:
                self._offer(CentralFrame(call_cancel=CallCancel(id=number)))

    async def _pay(self, number: int, call: _Open) -> None:
        """New credit once half of it is used and what came is taken."""
        if call.credit <= CREDIT // 2 and call.replies.empty():
            grant = CREDIT - call.credit
            call.credit = CREDIT
            await self._send(CentralFrame(call_credit=CallCredit(id=number, credit=grant)))

    def on_reply(self, reply: CallReply) -> None:
        """Hand a reply to its call; one that nobody waits for any more is dropped.

        Raises RefusedError(BAD_REQUEST) for a reply beyond the credit.
        """
        call = self._open.get(reply.id)
        if call is None:
            return
        match reply.WhichOneof("reply"):
            case "payload":
                if call.credit == 0:
                    raise refused("BAD_REQUEST", f"call_reply {reply.id}: no credit left")
                call.credit -= 1
                call.replies.put_nowait(reply.payload)
            case "end":
                call.replies.put_nowait(None if reply.end.code == 0 else relayed(reply.end))
            case _:
                raise refused("BAD_REQUEST", f"call_reply {reply.id}: neither payload nor end")

    def fail(self, refusal: RefusedError) -> None:
        """End every call under way: the session is over."""
        for call in self._open.values():
            call.replies.put_nowait(refusal)


async def _next(call: _Open, ends_at: float, deadline_milli: int) -> bytes | None:
    try:
        async with asyncio.timeout_at(ends_at):
            reply = await call.replies.get()
    except TimeoutError as error:
        raise refused("DEADLINE", f"no answer within {deadline_milli} ms") from error
    if isinstance(reply, RefusedError):
        raise reply
    return reply
