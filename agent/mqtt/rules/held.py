"""Held messages as the loop sees them: put durably, handed on when they are due, forgotten after."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from agent.clock import Clock
from agent.errors import CorruptError, StorageError
from agent.model import DeviceMessage
from agent.mqtt.rules.backlog import Backlog
from agent.mqtt.rules.held_file import HeldFile, Row, open_held
from agent.mqtt.rules.judge import Hold

log = logging.getLogger(__name__)

# What may be held before it is released early; at twice this nothing more is taken, and the broker keeps it.
LIMIT_BYTES = 16 << 20
# Released together: one group commit of the spool, and what is in memory meanwhile.
_BATCH_MESSAGES = 500

T = TypeVar("T")


class Held:
    """`state_dir/held.db`. Without a rule that holds there is neither file nor thread.

    `backlog` says of which topics there are messages here or on their way; `changed` is set when `due` may have more.
    """

    def __init__(
        self,
        path: Path,
        backlog: Backlog,
        clock: Clock,
        new_epoch: Callable[[], str],
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self._path = path
        self._backlog = backlog
        self._clock = clock
        self._new_epoch = new_epoch
        self._limit_bytes = limit_bytes
        self._file: HeldFile | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._hurry = False
        self.changed = asyncio.Event()
        self.next_due_seconds: float | None = None

    async def restore(self) -> None:
        """What an earlier run left is due. Called before the first message comes. Raises StorageError."""
        if self._path.exists():
            self._backlog.topics.update(await self._call(HeldFile.topics))
            self._look()

    async def put(self, messages: Sequence[tuple[DeviceMessage, Hold]]) -> None:
        """Durable on return. Raises StorageError when they can't be: then none of them is kept.

        Each was counted in `backlog` when it was judged.
        """
        if not messages:
            return
        if self._file is not None and self._file.size_bytes > 2 * self._limit_bytes:
            self.hurry()
            raise StorageError(f"held messages: over {2 * self._limit_bytes} bytes, and they can't be released")
        stamp = self._clock.stamp()
        gone = await self._call(lambda file: file.put(messages, stamp))
        for topic, count in gone.items():
            self._backlog.settle(topic, count)
        self._look()

    def hurry(self) -> None:
        """Everything that is held is due now: the rules have changed, or it is too much."""
        if self._file is not None:
            self._hurry = True
            self.changed.set()

    async def due(self, now_seconds: float) -> list[Row]:
        """The oldest of what is due; empty when nothing is. Raises StorageError."""
        if self._file is None:
            return []
        everything = self._hurry
        rows = await self._call(lambda file: file.take(now_seconds, _BATCH_MESSAGES, everything=everything))
        if not rows and everything:
            self._hurry = False
        return rows

    async def forget(self, ids: Sequence[int]) -> None:
        """They are durable elsewhere, or nobody's any more. Raises StorageError."""
        gone = await self._call(lambda file: file.forget(ids))
        for topic, count in gone.items():
            self._backlog.settle(topic, count)
        self._look()

    async def close(self) -> None:
        """When nothing is put any more. May be called again."""
        if self._file is not None:
            await self._call(HeldFile.close)
        if self._thread is not None:
            self._thread.shutdown(wait=False)
        self._file, self._thread = None, None

    def _look(self) -> None:
        if self._file is not None:
            self.next_due_seconds = self._file.next_due_seconds
            if self._file.size_bytes > self._limit_bytes:
                self._hurry = True
        self.changed.set()

    async def _call(self, work: Callable[[HeldFile], T]) -> T:
        """In the one thread, one after the other."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "held")

        def run() -> T:
            if self._file is None:
                self._file = self._open()
            return work(self._file)

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    def _open(self) -> HeldFile:
        try:
            return open_held(self._path, self._new_epoch())
        except CorruptError:
            aside = self._path.with_suffix(".corrupt")
            log.exception("held messages can't be read, begins anew", extra={"set_aside": aside})
            self._path.replace(aside)
            for rest in ("-wal", "-shm"):
                self._path.with_name(self._path.name + rest).unlink(missing_ok=True)
            return open_held(self._path, self._new_epoch())
