"""What lies in the spool, and how much of it. Pure."""

from dataclasses import dataclass
from typing import NamedTuple

from agent.model import RecordClass

# What a row costs on disk beyond its payload: key, header, page slack. Counted against the limit so that a million
# tiny records can't outgrow it. Measured on 200-byte payloads: 4096-byte pages held 17 rows of 232 bytes.
ROW_OVERHEAD_BYTES = 40

# What a gap becomes on the wire, at most: three numbers of 10 bytes, the boot's name, two times, the reason.
GAP_BYTES = 160

# Why a number has no record.
FULL = "spool full"
EXPIRED = "expired"

# A row's key is one integer: class in the top byte, sequence number below. Ranges of a class are ranges of keys.
_SEQ_BITS = 56
MAX_SEQ = (1 << _SEQ_BITS) - 1


def row_id(record_class: RecordClass, seq: int) -> int:
    return (record_class << _SEQ_BITS) | seq


def seq_of(row: int) -> int:
    return row & MAX_SEQ


class Draft(NamedTuple):
    """A record on its way in. `priority` 0..9, higher is kept longer. `expires_unix_nano` 0 = never.

    A tuple, as Entry is: one is made for every message, in a third of the time of a frozen dataclass.
    """

    record_class: RecordClass
    payload: bytes
    priority: int = 5
    expires_unix_nano: int = 0


class Entry(NamedTuple):
    """A record in the spool. With `gap_first` it has no payload: gap_first..seq are missing, for `reason`."""

    seq: int
    payload: bytes
    gap_first: int | None = None
    reason: str = ""


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
