"""Reads what runs use, each interval, and has the node's key sign what was billed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial

from agent.errors import AwayError, RefusedError, StorageError
from agent.jobs.book import Actions, Book
from agent.jobs.loop import Loop
from agent.jobs.metering import Reading, seal_text
from agent.model import UsageSeal

log = logging.getLogger(__name__)

_LOOKS = 6  # at memory in an interval, for what comes and goes between two bills
_LOOK_SECONDS_A_RUN = 0.5  # so that many runs are looked at less often: each look costs about a millisecond
_SEAL_RETRY_SECONDS = 60.0
_LAST_SEAL_SECONDS = 3.0

# The run's counters; None if the launcher doesn't hold it. Raises AwayError, StorageError.
Read = Callable[[str], Awaitable[Reading | None]]
# The node's certificate (DER) and its signature under a text. Raises AwayError, RefusedError, StorageError.
Sign = Callable[[bytes], Awaitable[tuple[bytes, bytes]]]


class Meters:
    def __init__(
        self, loop: Loop, read: Read, sign: Sign, *, usage_interval_seconds: float, seal_interval_seconds: float
    ) -> None:
        self._loop = loop
        self._read = read
        self._sign = sign
        self._usage_seconds = usage_interval_seconds
        self._seal_seconds = seal_interval_seconds

    async def run(self, book: Book) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_all(book), name="jobs.meters")
            group.create_task(self._keep_sealed(book), name="jobs.seals")

    async def _read_all(self, book: Book) -> None:
        clock = asyncio.get_running_loop()
        while True:
            due = clock.time() + self._usage_seconds
            while True:
                pause = max(self._usage_seconds / _LOOKS, len(book.meters) * _LOOK_SECONDS_A_RUN)
                if clock.time() + pause * 1.5 >= due:
                    break
                await asyncio.sleep(pause)
                self._loop.post(partial(_look, await self._readings(book)))
            await asyncio.sleep(due - clock.time())
            self._loop.post(partial(_bill, await self._readings(book)))

    async def _readings(self, book: Book) -> Mapping[str, Reading]:
        readings: dict[str, Reading] = {}
        try:
            for run in tuple(book.meters):
                reading = await self._read(run)
                if reading is not None:
                    readings[run] = reading
        except (AwayError, StorageError) as error:
            log.debug("usage not read", extra={"error": str(error)})
        return readings

    async def _keep_sealed(self, book: Book) -> None:
        wait = self._seal_seconds
        while True:
            await asyncio.sleep(wait)
            sealed = await self._seal(book)
            wait = self._seal_seconds if sealed else min(_SEAL_RETRY_SECONDS, self._seal_seconds)

    async def seal_at_the_end(self, book: Book) -> None:
        """What was billed since the last seal, if the key answers soon; else the next start seals it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SEAL_SECONDS):
                if await self._seal(book):
                    await self._loop.settled()

    async def _seal(self, book: Book) -> bool:
        """Whether nothing is left unsealed."""
        if not book.unsealed:
            return True
        heads = book.heads()
        try:
            certificate_der, signature = await self._sign(seal_text(heads))
        except (AwayError, RefusedError, StorageError) as error:
            log.warning("the bill is not sealed yet", extra={"error": str(error)})
            return False
        self._loop.post(lambda book: book.seal(UsageSeal(heads, certificate_der, signature)))
        return True


def _look(readings: Mapping[str, Reading], book: Book) -> Actions:
    for run, reading in readings.items():
        book.look_at(run, reading)
    return []


def _bill(readings: Mapping[str, Reading], book: Book) -> Actions:
    for run, reading in readings.items():
        book.read_meter(run, reading)
    return []
