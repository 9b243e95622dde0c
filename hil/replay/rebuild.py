"""A disk as a power cut could have left it: all that was flushed, and of the rest whatever had arrived."""

import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hil.replay.writes import Entry

# A disk writes this much whole or not at all; of a longer write some may be there.
_ATOM_BYTES = 4096
_CHANCES = (0.0, 0.2, 0.5, 0.8, 1.0)


class Disk:
    """Points are asked for in rising order: what is durable is applied once."""

    def __init__(self, base: Path, entries: Sequence[Entry], scratch: Path) -> None:
        self._entries = entries
        self._durable, self._crashed = scratch / "durable.raw", scratch / "crashed.raw"
        _copy(base, self._durable)
        self._applied = 0

    def at(self, point: int, draw: random.Random) -> Path:
        """After the first `point` entries. The file is overwritten by the next call."""
        flushed = max((at + 1 for at in range(self._applied, point) if self._entries[at].flush), default=self._applied)
        with self._durable.open("r+b") as file:
            for entry in self._entries[self._applied : flushed]:
                file.seek(entry.offset)
                file.write(entry.data)
        self._applied = flushed
        _copy(self._durable, self._crashed)
        with self._crashed.open("r+b") as file:
            chance = draw.choice(_CHANCES)
            for entry in self._entries[flushed:point]:
                for begin in range(0, len(entry.data), _ATOM_BYTES):
                    if entry.durable or draw.random() < chance:
                        file.seek(entry.offset + begin)
                        file.write(entry.data[begin : begin + _ATOM_BYTES])
        return self._crashed


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(source), str(target)], check=True, timeout=60)
