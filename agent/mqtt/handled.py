"""Which messages have become durable, by packet id and fingerprint: so that a second copy is known, also after a kill.

An entry is written after its record is durable and before the broker is told. It isn't fsynced: a killed process
leaves it to the kernel, and after a power cut a missing entry means a copy that central drops, never a lost message.
"""

import logging
import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

log = logging.getLogger(__name__)

# More than the broker has ever been seen to send again after a kill (docs/decisions/0055), and with what an earlier run
# left still less than the 65,535 after which packet ids come again.
LIMIT = 16_384
_ENTRY_BYTES = 8


def mark(packet_id: int, topic: str, payload: bytes) -> int:
    """Packet id and CRC-32 of topic and payload; never 0. A CRC will do: only one and the same packet id is compared.

    Properties are left out: a message's expiry is another each time it is sent.
    """
    return packet_id << 32 | crc32(payload, crc32(topic.encode()))


class Handled:
    """The marks of the newest LIMIT messages or more, at most twice as many."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._ring = array("Q", bytes(LIMIT * _ENTRY_BYTES))
        self._at = 0
        self._known: set[int] | None = None
        self._failing = False

    def open(self) -> None:
        """Reads what an earlier run left. A file that can't be is logged, and done without."""
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            left = os.pread(self._fd, LIMIT * _ENTRY_BYTES, 0)
        except OSError as why:
            self._warn(why)
            return
        whole = array("Q", left[: len(left) // _ENTRY_BYTES * _ENTRY_BYTES])
        self._ring[: len(whole)] = whole

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def has(self, found: int) -> bool:
        """Looked up when a message came with the duplicate flag; the first such look costs a millisecond."""
        if self._known is None:
            self._known = set(self._ring)
        return found in self._known

    def note(self, marks: Sequence[int]) -> None:
        """Their messages are durable. `marks` are fewer than LIMIT."""
        if self._known is not None:
            self._known.update(marks)
            if len(self._known) > 2 * LIMIT:
                self._known = None
        begin, room = self._at, LIMIT - self._at
        if len(marks) > room:
            self.note(marks[:room])
            self.note(marks[room:])
            return
        self._ring[begin : begin + len(marks)] = array("Q", marks)
        self._at = (begin + len(marks)) % LIMIT
        self._write(begin, len(marks))

    def forget(self) -> None:
        """The broker begins a new session: packet ids mean something else from now on."""
        self._ring = array("Q", bytes(LIMIT * _ENTRY_BYTES))
        self._at = 0
        self._known = None
        if self._fd >= 0:
            try:
                os.ftruncate(self._fd, 0)
            except OSError as why:
                self._warn(why)

    def _write(self, begin: int, count: int) -> None:
        if self._fd < 0:
            return
        try:
            os.pwrite(self._fd, memoryview(self._ring)[begin : begin + count], begin * _ENTRY_BYTES)
            self._failing = False
        except OSError as why:
            self._warn(why)

    def _warn(self, why: OSError) -> None:
        if not self._failing:
            log.warning("which messages were handled can't be kept over a restart", extra={"reason": why})
        self._failing = True
