"""What QEMU's blklogwrites has recorded of a disk. Pure reading.

Format: that of the kernel's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst; struct
log_write_super and log_write_entry in drivers/md/dm-log-writes.c), little-endian, a sector for the head of each entry.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SUPER = struct.Struct("<QQQI")  # magic, version, entries, bytes of a sector
_ENTRY = struct.Struct("<QQQQ")  # sector, sectors, flags, bytes of data (unused here)
_MAGIC = 0x6A736677736872
_FLUSH, _FUA, _DISCARD, _MARK = 1, 2, 4, 8


class LogError(Exception):
    """It is no log of writes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A write, a flush, or a write that is durable by itself (`durable`); a flush has no data."""

    offset: int
    data: bytes
    flush: bool
    durable: bool


def read(log: Path) -> Iterator[Entry]:
    """In the order in which the guest asked for them. Discards are left out: they promise nothing. Raises LogError."""
    with log.open("rb") as file:
        head = file.read(_SUPER.size)
        if len(head) < _SUPER.size:
            raise LogError(f"{log}: too short")
        magic, version, count, sector = _SUPER.unpack(head)
        if magic != _MAGIC or version != 1 or sector < _ENTRY.size:
            raise LogError(f"{log}: no log of writes")
        file.seek(sector)
        for _ in range(count):
            head = file.read(sector)
            if len(head) < _ENTRY.size:
                raise LogError(f"{log}: ends within an entry")
            at, sectors, flags, _ = _ENTRY.unpack_from(head)
            data = b"" if flags & _DISCARD else file.read(sectors * sector)
            if not flags & (_DISCARD | _MARK):
                yield Entry(at * sector, data, bool(flags & _FLUSH), bool(flags & _FUA))


def marks(entries: Sequence[Entry], begin: int) -> list[tuple[int, dict[str, Any]]]:
    """(position, what it says) of each mark: JSON that was written at or behind `begin`, where no file system is."""
    return [
        (position, json.loads(entry.data.rstrip(b"\0")))
        for position, entry in enumerate(entries)
        if entry.data and entry.offset >= begin
    ]
