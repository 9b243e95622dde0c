"""Runs, sandboxes and disks that belong to no job: ended and removed, however long the launcher needs for it."""

import asyncio
import logging
from collections.abc import Callable

from agent.errors import AwayError, RefusedError, StorageError
from agent.sandbox import DiskState, RunState, Sandbox

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
_RETRY_SECONDS = 5.0


class Strays:
    def __init__(self, sandbox: Sandbox, is_stray: Callable[[RunState | DiskState], bool]) -> None:
        """`is_stray` is asked before each try: a disk whose job has come back is not to be deleted."""
        self._sandbox = sandbox
        self._is_stray = is_stray
        self._queue = asyncio.Queue[RunState | DiskState]()

    def add(self, stray: RunState | DiskState) -> None:
        self._queue.put_nowait(stray)

    async def run(self) -> None:
        """Until cancelled. One that can't be removed doesn't keep the others."""
        while True:
            stray = await self._queue.get()
            if not self._is_stray(stray):
                continue
            log.warning("removing what belongs to no job", extra={"stray": stray})
            try:
                await self._discard(stray)
            except (AwayError, StorageError, RefusedError) as error:
                log.warning("not removed yet", extra={"stray": stray, "error": str(error)})
                self._queue.put_nowait(stray)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _discard(self, stray: RunState | DiskState) -> None:
        try:
            if isinstance(stray, DiskState):
                await self._sandbox.remove_disk(stray.tenant, stray.job)
                return
            state = stray
            while state.phase == "running":
                await self._sandbox.signal(state.run, "KILL")
                await asyncio.sleep(_LOOK_SECONDS)
                state = await self._sandbox.state(state.run)
            await self._sandbox.remove(state.run)
        except RefusedError as error:
            if error.reason != "NOT_FOUND":
                raise
