"""Callers that wait for the end of a command."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from agent.clock import Clock
from agent.errors import RefusedError
from agent.mqtt.commands.outcome import outcome
from agent.mqtt.commands.queue import Command, Now
from agent.mqtt.topics import ack_topic
from agent.orders import CommandAnswer


@dataclass(eq=False, slots=True)
class Waiter:
    """`local`: on site, where any answer may be told."""

    local: bool
    answer: asyncio.Future[CommandAnswer] = field(default_factory=asyncio.Future[CommandAnswer])


class Waiters:
    def __init__(self, clock: Clock, stays: Callable[[str], bool]) -> None:
        self._clock = clock
        self._stays = stays
        self._waiters: dict[str, list[Waiter]] = {}

    def __contains__(self, id_: str) -> bool:
        return id_ in self._waiters

    def ids(self) -> tuple[str, ...]:
        return tuple(self._waiters)

    def add(self, id_: str, *, local: bool) -> Waiter:
        waiter = Waiter(local)
        self._waiters.setdefault(id_, []).append(waiter)
        return waiter

    def leave(self, id_: str, waiter: Waiter) -> None:
        waiters = self._waiters[id_]
        waiters.remove(waiter)
        if not waiters:
            del self._waiters[id_]

    def tell(self, command: Command | None, payload: bytes | None = None) -> None:
        """How it ended, if it has; `payload` is the whole answer when it comes just now."""
        if command is None or not command.ended:
            return
        now = Now(self._clock.boot_id, self._clock.seconds(), self._clock.wall_nano())
        for waiter in self._waiters.get(command.id, ()):
            try:
                found = outcome(command, payload, now)
            except RefusedError as why:
                _refuse(waiter, why)
                continue
            if found is not None and not waiter.answer.done():
                hidden = found.payload and not waiter.local and self._stays(ack_topic(command.device, command.name))
                waiter.answer.set_result(replace(found, payload=b"") if hidden else found)

    def refuse(self, id_: str, why: Callable[[], Exception]) -> None:
        for waiter in self._waiters.get(id_, ()):
            _refuse(waiter, why())


def _refuse(waiter: Waiter, why: Exception) -> None:
    if not waiter.answer.done():
        waiter.answer.set_exception(why)
