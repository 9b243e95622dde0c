"""Commands to devices, and the answers that come back."""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from agent.clock import Clock
from agent.errors import AwayError, RefusedError
from agent.model import DeviceView
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.topics import Kind, ack_topic, command_topic, is_command_name, parse

log = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 64 * 1024
MAX_KEY_BYTES = 64
# Exchanges kept: those under way, and those whose key may be asked for again. Up to 64 KiB each, typically 100 bytes.
MAX_OUTSTANDING = 256
MAX_REMEMBERED = 256


class Publish(Protocol):
    """Connection.publish. Raises AwayError when nothing was sent."""

    def __call__(
        self, topic: str, payload: bytes, *, response_topic: str, correlation_data: bytes, expiry_seconds: int
    ) -> Awaitable[None]: ...


@dataclass(eq=False, slots=True)
class _Exchange:
    device: str
    name: str
    correlation_data: bytes
    started_seconds: float
    answer: asyncio.Future[tuple[bytes, int]] = field(default_factory=asyncio.Future[tuple[bytes, int]])
    callers: int = 0


_Key = tuple[str, str, str]


class Commands:
    """Sends each command at most once, and knows its answer by correlation data.

    A device that speaks MQTT 3.1.1 can't echo that: an answer without it is taken for the only command of that name
    that waits.
    """

    def __init__(self, clock: Clock, look_up: Callable[[str], DeviceView | None], publish: Publish) -> None:
        self._clock = clock
        self._look_up = look_up
        self._publish = publish
        self._outstanding: dict[bytes, _Exchange] = {}
        self._remembered: OrderedDict[_Key, _Exchange] = OrderedDict()
        # No two processes of one boot share a start, so an answer to an earlier run is never taken for ours.
        self._prefix = f"{clock.boot_id[:8]}.{clock.boottime_nano():x}."
        self._count = 0

    async def send(
        self, device: str, name: str, payload: bytes, timeout_seconds: float, idempotency_key: str
    ) -> tuple[bytes, int]:
        """The device's answer, and the milliseconds it took.

        The same key for the same device and name is sent once: a second call gets the first's answer, or waits for it.
        After DEADLINE the command may have been carried out, unless the device was away: then it has expired.
        Raises RefusedError BAD_REQUEST, NOT_FOUND, AWAY, NO_ROOM, DEADLINE.
        """
        _check(name, payload, timeout_seconds, idempotency_key)
        key = (device, name, idempotency_key)
        exchange = self._remembered.get(key) if idempotency_key else None
        fresh = exchange is None
        if exchange is None:
            exchange = self._begin(key)
        exchange.callers += 1
        try:
            async with asyncio.timeout(timeout_seconds):
                if fresh:
                    await self._send(exchange, payload, math.ceil(timeout_seconds))
                return await asyncio.shield(exchange.answer)
        except TimeoutError:
            raise RefusedError(
                "DEADLINE", f"device {device} has not answered {name} within {timeout_seconds:g} s"
            ) from None
        except AwayError as why:
            self._forget(exchange)
            self._remembered.pop(key, None)
            raise RefusedError("AWAY", f"{why}; nothing was sent") from why
        finally:
            exchange.callers -= 1
            if not idempotency_key:
                self._forget(exchange)

    def answer(self, delivery: Delivery) -> None:
        """Hand a message to the command that waits for it, if it is such an answer."""
        if not delivery.topic.endswith("/ack") or delivery.retained:
            return
        where = parse(delivery.topic)
        if where is None or where.kind is not Kind.ACK:
            return
        exchange = self._match(where.device, where.command, delivery.correlation_data)
        if exchange is None:
            log.debug("answer to no command", extra={"topic": delivery.topic})
            return
        elapsed = self._clock.seconds() - exchange.started_seconds
        if not exchange.answer.done():
            exchange.answer.set_result((delivery.payload, round(elapsed * 1000)))
        self._forget(exchange)

    def _match(self, device: str, name: str, correlation_data: bytes) -> _Exchange | None:
        if correlation_data:
            exchange = self._outstanding.get(correlation_data)
            return exchange if exchange is not None and (exchange.device, exchange.name) == (device, name) else None
        same = [e for e in self._outstanding.values() if (e.device, e.name) == (device, name)]
        waiting = [e for e in same if e.callers] or same
        return waiting[0] if len(waiting) == 1 else None

    def _begin(self, key: _Key) -> _Exchange:
        device, name, idempotency_key = key
        view = self._look_up(device)
        if view is None:
            raise RefusedError("NOT_FOUND", f"no device {device[:64]!r} was ever heard of here")
        if not view.online:
            raise RefusedError("AWAY", f"device {device} is offline")
        if sum(1 for e in self._outstanding.values() if e.callers) >= MAX_OUTSTANDING:
            raise RefusedError("NO_ROOM", f"{MAX_OUTSTANDING} commands are under way")
        self._count += 1
        correlation_data = f"{self._prefix}{self._count:x}".encode()
        exchange = _Exchange(device, name, correlation_data, self._clock.seconds())
        self._outstanding[correlation_data] = exchange
        if idempotency_key:
            self._remembered[key] = exchange
            while len(self._remembered) > MAX_REMEMBERED:
                _, oldest = self._remembered.popitem(last=False)
                if not oldest.callers:
                    self._forget(oldest)
        return exchange

    async def _send(self, exchange: _Exchange, payload: bytes, expiry_seconds: int) -> None:
        await self._publish(
            command_topic(exchange.device, exchange.name),
            payload,
            response_topic=ack_topic(exchange.device, exchange.name),
            correlation_data=exchange.correlation_data,
            # A door must not open an hour after whoever asked for it has gone.
            expiry_seconds=expiry_seconds,
        )

    def _forget(self, exchange: _Exchange) -> None:
        self._outstanding.pop(exchange.correlation_data, None)


def _check(name: str, payload: bytes, timeout_seconds: float, idempotency_key: str) -> None:
    if not is_command_name(name):
        raise RefusedError("BAD_REQUEST", f"command name {name[:64]!r} must be 1..64 characters of [A-Za-z0-9_-]")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise RefusedError("BAD_REQUEST", f"payload of {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES}")
    if not 0 < timeout_seconds <= 60:
        raise RefusedError("BAD_REQUEST", f"timeout of {timeout_seconds:g} s must be over 0 and at most 60")
    if len(idempotency_key.encode()) > MAX_KEY_BYTES:
        raise RefusedError("BAD_REQUEST", f"idempotency key over {MAX_KEY_BYTES} bytes")
