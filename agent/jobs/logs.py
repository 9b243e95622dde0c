"""A run's log as conmon keeps it (k8s-file): `<rfc3339nano> stdout|stderr F|P <text>`, F ends a line and P goes on.

When the file reaches its cap conmon begins anew, by truncating it or by putting a new file in its place: what was there
is lost, and a reader goes on with what comes. A slow reader slows nobody and costs one batch of lines: the file is read
when the reader asks, and let go of when it doesn't ask for a while, so that a file that is no more gives its memory
back (logs lie in /run).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from agent.errors import AwayError, RefusedError
from agent.model import LogLine

LINE_BYTES = 32 * 1024  # longer lines are cut into several
_READ_BYTES = 64 * 1024
_HEAD_BYTES = 256
_RAW_BYTES = 4 * LINE_BYTES
_POLL_SECONDS = 0.1
_AWAY_SECONDS = 1.0
_IDLE_SECONDS = 10.0
_NANO = 1_000_000_000


async def read(
    open_log: Callable[[], Awaitable[int]], tail_bytes: int, *, follow: bool, ended: Callable[[], bool]
) -> AsyncIterator[list[LogLine]]:
    """Batches of lines, beginning with the first whole line of the last `tail_bytes`.

    `open_log` gives a descriptor of the log. With `follow` the end comes when `ended` says that the run is over and
    everything it wrote was read; without, at the end of the file. Raises what `open_log` raises at first; later a
    launcher that is away is waited for.
    """
    async with _File(open_log) as file:
        await file.open()
        file.go_to_tail(tail_bytes)
        while True:
            over = ended() or not follow  # asked before the read: nothing is written after it
            had, batch = await file.read()
            if batch:
                with file.resting():
                    yield batch
            if not await file.still_there():
                break
            if had or file.begun_anew:
                continue
            if over:
                break
            await asyncio.sleep(_POLL_SECONDS)
        rest = file.lines.rest()
        if rest:
            yield rest


class _File:
    """The log at this moment, read up to `_position`."""

    def __init__(self, open_log: Callable[[], Awaitable[int]]) -> None:
        self._open_log = open_log
        self._fd = -1
        self._head = b""  # by which the file is known again: the time of its first line, not an inode that is reused
        self._position = 0
        self.lines = Lines()
        self.begun_anew = False  # as `still_there` found it

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    async def open(self) -> None:
        fd = await self._open_log()
        self._close()
        self._fd = fd
        if not self._head or os.pread(fd, len(self._head), 0) != self._head:
            self._begin()

    def go_to_tail(self, tail_bytes: int) -> None:
        position = os.fstat(self._fd).st_size - tail_bytes
        self.lines = Lines(skip_first=position > 0)
        # A line that begins right at the tail is whole: the byte before ends the one before.
        self._position = max(0, position - 1)

    async def read(self) -> tuple[bool, list[LogLine]]:
        """Whether there was something, and the whole lines of it."""
        data = await asyncio.to_thread(os.pread, self._fd, _READ_BYTES, self._position)
        self._position += len(data)
        return bool(data), self.lines.feed(data)

    async def still_there(self) -> bool:
        """False when there is no log any more. While the launcher is away, it is waited for."""
        self.begun_anew = False
        if self._fd >= 0:
            found = os.fstat(self._fd)
            if found.st_size < self._position:
                self._begin()
                return True
            if found.st_nlink or found.st_size > self._position:  # a file that was put aside is read to its end
                return True
        while True:
            try:
                await self.open()
            except RefusedError:
                return False
            except AwayError:
                await asyncio.sleep(_AWAY_SECONDS)
            else:
                return True

    @contextmanager
    def resting(self) -> Generator[None]:
        """While the reader has the turn. One who takes long would keep a file alive that conmon has put aside."""
        timer = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._close)
        try:
            yield
        finally:
            timer.cancel()

    def _begin(self) -> None:
        self._position, self.lines, self.begun_anew = 0, Lines(), True

    def _close(self) -> None:
        if self._fd >= 0:
            self._head = os.pread(self._fd, _HEAD_BYTES, 0)
            os.close(self._fd)
            self._fd = -1


@dataclass(slots=True)
class _Part:
    time_unix_nano: int = 0
    text: bytearray = field(default_factory=bytearray)


class Lines:
    """Bytes of the file in, lines out. Text that is not in conmon's format is left out."""

    def __init__(self, *, skip_first: bool = False) -> None:
        self._skip = skip_first
        self._raw = b""
        self._parts = {False: _Part(), True: _Part()}

    def feed(self, data: bytes) -> list[LogLine]:
        *whole, self._raw = (self._raw + data).split(b"\n")
        if self._skip and whole:
            whole, self._skip = whole[1:], False
        if len(self._raw) > _RAW_BYTES:  # conmon writes no such line: what isn't a log is not collected
            self._raw, self._skip = b"", True
        lines: list[LogLine] = []
        for raw in whole:
            lines += self._line(raw)
        return lines

    def rest(self) -> list[LogLine]:
        """What the run wrote last without ending its line."""
        return [LogLine(p.time_unix_nano, stderr, bytes(p.text)) for stderr, p in self._parts.items() if p.text]

    def _line(self, raw: bytes) -> list[LogLine]:
        time, _, rest = raw.partition(b" ")
        stream, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        time_unix_nano = parse_time(time)
        if time_unix_nano is None or stream not in (b"stdout", b"stderr") or tag not in (b"F", b"P"):
            return []
        stderr = stream == b"stderr"
        part = self._parts[stderr]
        if not part.text:
            part.time_unix_nano = time_unix_nano
        part.text += text
        lines: list[LogLine] = []
        while len(part.text) > LINE_BYTES:
            lines.append(LogLine(part.time_unix_nano, stderr, bytes(part.text[:LINE_BYTES])))
            del part.text[:LINE_BYTES]
        if tag == b"F":
            lines.append(LogLine(part.time_unix_nano, stderr, bytes(part.text)))
            self._parts[stderr] = _Part()
        return lines


def parse_time(raw: bytes) -> int | None:
    """RFC 3339 with up to nine decimals, as ns since 1970; None if it isn't one."""
    head, dot, tail = raw.partition(b".")
    digits = tail[: len(tail) - len(tail.lstrip(b"0123456789"))]
    zone = tail[len(digits) :] if dot else b""
    try:
        seconds = datetime.fromisoformat((head + zone).decode("ascii"))
        if seconds.tzinfo is None:
            return None
        return int(seconds.timestamp()) * _NANO + int(digits[:9].ljust(9, b"0") or b"0")
    except ValueError:
        return None
