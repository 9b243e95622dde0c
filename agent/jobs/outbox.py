"""Brings what the book decided to report into the spool: in order, at least once, identically after a crash."""

import asyncio
import logging
from collections.abc import Callable

from agent.errors import StorageError
from agent.jobs.store import JobStore
from agent.model import Sink

log = logging.getLogger(__name__)

_AT_ONCE = 256
_RETRY_SECONDS = 1.0
_RETRY_MAX_SECONDS = 10.0


class Outbox:
    def __init__(self, store: JobStore, record: Sink, on_takes: Callable[[], None]) -> None:
        """`on_takes` is called when the spool takes records again after it did not."""
        self._store = store
        self._record = record
        self._on_takes = on_takes
        self._work = asyncio.Event()
        self._finishing = asyncio.Event()
        self.spool_takes = True

    def wake(self) -> None:
        self._work.set()

    def finish(self) -> None:
        """Let `run` return once what waits is sent: ended between a record and its tick, it would be sent twice."""
        self._finishing.set()
        self._work.set()

    async def run(self) -> None:
        """Until `finish`. Begins with what an earlier process left."""
        self._work.set()
        wait = _RETRY_SECONDS
        while True:
            await self._work.wait()
            self._work.clear()
            took, self.spool_takes = self.spool_takes, await self._send_all()
            if self.spool_takes and not took:
                self._on_takes()
            if self._finishing.is_set():
                return
            if self.spool_takes:
                wait = _RETRY_SECONDS
                continue
            await asyncio.sleep(wait)
            wait = min(_RETRY_MAX_SECONDS, wait * 2)
            self._work.set()

    async def _send_all(self) -> bool:
        """Whether the spool took all there was."""
        try:
            while True:
                last_id, bodies = await self._store.unsent(_AT_ONCE)
                if not bodies:
                    return True
                await self._record(bodies)
                await self._store.sent(last_id)
        except StorageError as error:
            if self.spool_takes:
                log.warning("spool or job database takes nothing: no new work", extra={"error": str(error)})
            return False
