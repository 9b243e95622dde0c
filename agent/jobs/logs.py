"""A run's log as conmon keeps it (k8s-file): `<rfc3339nano> stdout|stderr F|P <text>`, F ends a line and P goes on.

When the file reaches its cap conmon begins anew, by truncating it or by putting a new file in its place: what was there
is lost, and a reader goes on with what comes. A slow reader slows nobody: the file is read when the reader asks.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from agent.errors import RefusedError
from agent.model import LogLine

LINE_BYTES = 32 * 1024  # longer lines are cut into several
_READ_BYTES = 64 * 1024
_POLL_SECONDS = 0.1
_NANO = 1_000_000_000


async def read(
    open_log: Callable[[], Awaitable[int]], tail_bytes: int, *, follow: bool, ended: Callable[[], bool]
) -> AsyncIterator[list[LogLine]]:
    """Batches of lines, beginning with the first whole line of the last `tail_bytes`.

    `open_log` gives a descriptor of the log. With `follow` the end comes when `ended` says that the run is over and
    everything it wrote was read; without, at the end of the file. Raises what `open_log` raises.
    """
    fd = await open_log()
    try:
        position = os.fstat(fd).st_size - tail_bytes
        lines = Lines(skip_first=position > 0)
        position = max(
            0, position - 1
        )  # a line that begins right at the tail is whole: the byte before ends the one before
        while True:
            over = ended() or not follow  # asked before the read: nothing is written after it
            data = await asyncio.to_thread(os.pread, fd, _READ_BYTES, position)
            position += len(data)
            batch = lines.feed(data)
            if batch:
                yield batch
            if data:
                continue
            found = os.fstat(fd)
            if found.st_size < position:
                position, lines = 0, Lines()
            elif found.st_nlink == 0:
                try:
                    fresh = await open_log()
                except RefusedError:  # the run was removed, and its log with it
                    break
                os.close(fd)
                fd, position, lines = fresh, 0, Lines()
            elif over:
                break
            else:
                await asyncio.sleep(_POLL_SECONDS)
        rest = lines.rest()
        if rest:
            yield rest
    finally:
        with suppress(OSError):
            os.close(fd)


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
