"""Hands held messages to the spool when they are due, then forgets them."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from agent.backoff import full_jitter
from agent.clock import Clock
from agent.errors import StorageError
from agent.model import Sink
from agent.mqtt.rules.held import Held
from agent.mqtt.rules.rules import Rules

log = logging.getLogger(__name__)

_RETRY_BASE_SECONDS = 0.2
_RETRY_CAP_SECONDS = 30.0
# A due time lies on a clock that counts through suspend, and the loop's timer on one that does not.
_LOOK_SECONDS = 60.0


class Releaser:
    """Recorded first, forgotten after: a kill between the two repeats messages, under the same idempotency keys.

    The rules of now have the last word: what they keep in the store, or take out, doesn't leave because it was held
    under others.
    """

    def __init__(self, held: Held, rules: Rules, record: Sink, clock: Clock, draw: Callable[[], float]) -> None:
        self._held = held
        self._rules = rules
        self._record = record
        self._clock = clock
        self._draw = draw
        self._recorded: list[int] = []  # and not forgotten yet

    async def run(self) -> None:
        """Until cancelled. What is held then stays so."""
        attempt = 0
        while True:
            try:
                while await self.release():
                    attempt = 0
            except StorageError as why:
                if attempt == 0:
                    log.warning("held messages can't be released, and stay held", extra={"reason": why})
                wait = full_jitter(
                    attempt, base_seconds=_RETRY_BASE_SECONDS, cap_seconds=_RETRY_CAP_SECONDS, draw=self._draw()
                )
                attempt += 1
                await asyncio.sleep(wait)
                continue
            await self._wait()

    async def release(self) -> bool:
        """One batch of what is due; False when nothing was. Raises StorageError: then it is held as before.

        What is recorded and could only not be forgotten is not recorded again.
        """
        await self._forget_recorded()
        rows = await self._held.due(self._clock.seconds())
        if not rows:
            return False
        leaving = [left for _, message in rows if (left := self._rules.still(message)) is not None]
        if leaving:
            await self._record(leaving)
        self._recorded = [row for row, _ in rows]
        await self._forget_recorded()
        return True

    async def _forget_recorded(self) -> None:
        if self._recorded:
            await self._held.forget(self._recorded)
            self._recorded = []

    async def _wait(self) -> None:
        """Until something is due, or may be."""
        due = self._held.next_due_seconds
        seconds = None if due is None else min(_LOOK_SECONDS, max(0.0, due - self._clock.seconds()))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._held.changed.wait()
        self._held.changed.clear()
