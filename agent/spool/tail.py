"""What was appended last and not read yet, in memory: whoever keeps up reads nothing back from the disk. Pure."""

from collections import deque
from collections.abc import Sequence

from agent.spool.record import ROW_OVERHEAD_BYTES, Entry

# Of one class. A reader that lags further behind reads from the disk until it has caught up.
_LIMIT_BYTES = 2 << 20


class Tail:
    """Of one class. Closed until a reader has caught up with the disk, and again when it lags too far behind."""

    def __init__(self) -> None:
        self._payloads: deque[bytes] = deque()
        self._bytes = 0
        self._next = 0  # the number of the first payload here, or of the one to come; 0: closed

    def open(self, next_seq: int) -> None:
        """The reader has read everything before `next_seq`, and nothing from there on exists yet."""
        self.close()
        self._next = next_seq

    def extend(self, first: int, payloads: Sequence[bytes]) -> None:
        """`payloads` are durable as first, first+1, ..."""
        if not self._next:
            return
        self._payloads.extend(payloads)
        self._bytes += sum(map(len, payloads)) + len(payloads) * ROW_OVERHEAD_BYTES
        if self._bytes > _LIMIT_BYTES or first + len(payloads) != self._next + len(self._payloads):
            self.close()

    def close(self) -> None:
        self._payloads.clear()
        self._bytes = self._next = 0

    def take(self, after_seq: int, *, max_records: int, max_bytes: int) -> list[Entry]:
        """The next ones behind `after_seq`, which are then forgotten here; none when only the disk can tell."""
        if after_seq + 1 != self._next:
            return []
        found: list[Entry] = []
        payloads, seq, size = self._payloads, self._next, 0
        while payloads and len(found) < max_records:
            size += len(payloads[0])
            if found and size > max_bytes:
                break
            found.append(Entry(seq, payloads.popleft()))
            seq += 1
        self._next = seq
        self._bytes -= sum([len(entry.payload) for entry in found]) + len(found) * ROW_OVERHEAD_BYTES
        return found
