"""Which messages have become durable, by packet id and fingerprint: so that a second copy is known, also after a kill.

A mark is written after its record is durable and before the broker is told. It isn't fsynced: what a killed process
wrote, the kernel has; and after a power cut a missing mark means a copy that central drops, never a lost message.
"""

import errno
import logging
import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

log = logging.getLogger(__name__)

# The newest so many are known, up to half as many more before the file is written anew. More than the broker was seen
# to send again after a kill (docs/decisions/0055), and less than the 65,535 after which packet ids come again.
KEPT = 32_768
_MOST = KEPT + KEPT // 2
_MARK_BYTES = 8


def mark(packet_id: int, topic: str, payload: bytes) -> int:
    """Packet id and CRC-32 of topic and payload. A CRC will do: what has another packet id is another message anyway.

    Properties are left out: the expiry is another each time a message is sent.
    """
    return packet_id << 32 | crc32(payload, crc32(topic.encode()))


class Handled:
    """The marks of the newest KEPT messages or more, oldest first, in memory and in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._marks = array("Q")
        self._known: set[int] | None = None
        self._asked = False
        self._failing = False

    def open(self) -> None:
        """Reads what an earlier run left. A file that can't be read is logged, and done without."""
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            _cut(self._fd)
            left = os.pread(self._fd, _MOST * _MARK_BYTES, 0)
        except OSError as why:
            self._warn(why)
            return
        self._marks = array("Q", left)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def has(self, found: int) -> bool:
        """To be asked of what came with the duplicate flag. The first time in a while costs some milliseconds."""
        self._asked = True
        if self._known is None:
            self._known = set(self._marks)
        return found in self._known

    def repeated(self, marks: Sequence[int]) -> int:
        """How many of `marks`, from the first on, were noted last and in this order.

        To be asked of what may be the very batch that was noted last. Stricter than `has`: after a broker was killed,
        packet ids come again, and a thermometer that always says 4.0 would be a copy of itself.
        """
        asked, last = array("Q", marks), self._marks[max(0, len(self._marks) - len(marks)) :]
        return next((count for count in range(len(last), 0, -1) if last[-count:] == asked[:count]), 0)

    def note(self, marks: Sequence[int]) -> None:
        """Their messages are durable."""
        if self._known is not None:
            if self._asked:
                self._known.update(marks)
            else:
                self._known = None
            self._asked = False
        fresh = array("Q", marks)
        self._marks.extend(fresh)
        if len(self._marks) <= _MOST:
            self._append(fresh)
        else:
            del self._marks[:-KEPT]
            self._known = None
            self._rewrite()

    def forget(self) -> None:
        """The broker begins a new session: packet ids mean something else from now on."""
        self._marks = array("Q")
        self._known = None
        self._rewrite()

    def _append(self, fresh: "array[int]") -> None:
        if self._fd < 0 or not fresh:
            return
        try:
            _write(self._fd, fresh)
            self._failing = False
        except OSError as why:
            self._warn(why)

    def _rewrite(self) -> None:
        """A file beside it, then its name: a kill leaves the old one or the new."""
        if self._fd < 0:
            return
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                _write(fd, self._marks)
                beside.replace(self._path)
            except OSError:
                os.close(fd)
                raise
        except OSError as why:
            self._warn(why)
            return
        os.close(self._fd)
        self._fd = fd

    def _warn(self, why: OSError) -> None:
        if not self._failing:
            log.warning("which messages were handled can't be kept over a restart", extra={"reason": why})
        self._failing = True


def _write(fd: int, marks: "array[int]") -> None:
    """At the end, all or none of the last mark."""
    if os.write(fd, marks) < len(marks) * _MARK_BYTES:
        _cut(fd)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _cut(fd: int) -> None:
    """What a full disk or a power cut left of a mark is taken away: what is appended must begin at a whole one."""
    size = os.fstat(fd).st_size
    if size % _MARK_BYTES:
        os.ftruncate(fd, size // _MARK_BYTES * _MARK_BYTES)
