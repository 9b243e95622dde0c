"""What lies in the spool, and how much of it. Pure."""

from dataclasses import dataclass

from agent.model import RecordClass

# What a row costs on disk beyond its payload: key, header, page slack. Counted against the limit so that a million
# tiny records can't outgrow it. Measured on 200-byte payloads: 4096-byte pages held 17 rows of 232 bytes.
ROW_OVERHEAD_BYTES = 40

# What a gap becomes on the wire, at most: three numbers of 10 bytes, the boot's name, two times, the reason.
GAP_BYTES = 160

# A row's key is one integer: class in the top byte, sequence number below. Ranges of a class are ranges of keys.
_SEQ_BITS = 56
MAX_SEQ = (1 << _SEQ_BITS) - 1


def row_id(record_class: RecordClass, seq: int) -> int:
    return (record_class << _SEQ_BITS) | seq


def seq_of(row: int) -> int:
    return row & MAX_SEQ


@dataclass(frozen=True, slots=True)
class Draft:
    """A record on its way in. `priority` 0..9, higher is kept longer."""

    record_class: RecordClass
    payload: bytes
    priority: int = 5

    @property
    def cost_bytes(self) -> int:
        return len(self.payload) + ROW_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Entry:
    """A record in the spool. With `gap_first` it stands for the dropped records gap_first..seq, and has no payload."""

    seq: int
    payload: bytes
    gap_first: int | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive sequence numbers first..last."""

    first: int
    last: int


def runs(seqs: list[int]) -> list[Run]:
    """Ascending `seqs` as runs of neighbours."""
    found: list[Run] = []
    for seq in seqs:
        if found and found[-1].last == seq - 1:
            found[-1] = Run(found[-1].first, seq)
        else:
            found.append(Run(seq, seq))
    return found
