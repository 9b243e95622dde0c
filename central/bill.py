"""The bill: usage samples added up, and the chain of hashes that lets a tenant check them. Pure.

hash(n) = SHA-256(hash(n-1) + canonical(sample n)); hash(0) = 32 zero bytes; one chain for each tenant on a node.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from storeedge.v1.record_pb2 import UsageSample

ZERO_HASH = bytes(32)


def canonical(sample: UsageSample) -> bytes:
    """What is hashed: the fields in this order, numbers in decimal, joined by newlines, UTF-8."""
    fields = (
        sample.tenant,
        sample.job,
        sample.generation,
        sample.attempt,
        sample.start_unix_nano,
        sample.end_unix_nano,
        sample.cpu_nano,
        sample.memory_byte_seconds,
        sample.wall_nano,
        sample.network_receive_bytes,
        sample.network_transmit_bytes,
        sample.disk_byte_seconds,
        sample.chain_index,
    )
    return "\n".join(map(str, fields)).encode()


def chain_hash(previous: bytes, sample: UsageSample) -> bytes:
    return hashlib.sha256(previous + canonical(sample)).digest()


@dataclass(frozen=True, slots=True)
class Bill:
    """One tenant's use of one node."""

    cpu_nano: int = 0
    memory_byte_seconds: int = 0
    wall_nano: int = 0
    samples: int = 0
    chain_valid: bool = True


def add_up(samples: Iterable[tuple[str, UsageSample | None]]) -> Bill:
    """The bill from (spool epoch, sample) in the order in which they came; None stands for a gap.

    The chain begins at index 1 with hash 0, and may begin again only with a new epoch: a box that was set up anew.
    A node that died between recording a sample and noting that it had records the same sample again: it counts once.
    """
    bill, epoch, index, last, valid = Bill(), None, 0, ZERO_HASH, True
    counted: dict[int, UsageSample] = {}
    for sample_epoch, sample in samples:
        if sample is None:
            valid = False
            continue
        if sample_epoch != epoch and sample.chain_index == 1:
            index, last, counted = 0, ZERO_HASH, {}
        if counted.get(sample.chain_index) == sample:
            continue
        counted[sample.chain_index] = sample
        valid &= sample.chain_index == index + 1 and sample.chain_hash == chain_hash(last, sample)
        epoch, index, last = sample_epoch, sample.chain_index, sample.chain_hash
        bill = Bill(
            bill.cpu_nano + sample.cpu_nano,
            bill.memory_byte_seconds + sample.memory_byte_seconds,
            bill.wall_nano + sample.wall_nano,
            bill.samples + 1,
        )
    return Bill(bill.cpu_nano, bill.memory_byte_seconds, bill.wall_nano, bill.samples, valid)
