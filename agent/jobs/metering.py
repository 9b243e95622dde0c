"""Readings of a run's counters -> windows of the bill, chained by hash per tenant. Pure.

Memory between two readings is the mean of both. A run's memory can't be read before its start or after its end: such
a window counts the one reading it has, and a run too short to be read counts half of its peak. What a run used between
its last reading and a reboot is not billed: nobody can know it.
"""

import hashlib
from dataclasses import dataclass, replace

from agent.model import UsageSample

_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """A run's counters since it began."""

    boottime_nano: int
    wall_nano: int
    cpu_nano: int
    memory_bytes: int | None  # in use at this moment; None before the run's start and after its end
    memory_peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Meter:
    """One run, billed up to `last`."""

    run: str
    tenant: str
    job: str
    generation: int
    attempt: int
    last: Reading


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The newest link of one tenant's chain."""

    index: int = 0
    hash: bytes = bytes(32)


def bill(meter: Meter, reading: Reading, head: ChainHead) -> tuple[Meter, ChainHead, UsageSample]:
    """The window from the meter's last reading to this one, as the next link of the tenant's chain.

    A clock or a counter that went backwards gives an empty window, never a negative one.
    """
    last = meter.last
    end_unix_nano = max(last.wall_nano, reading.wall_nano)
    wall_nano = max(0, reading.boottime_nano - last.boottime_nano)
    unchained = UsageSample(
        tenant=meter.tenant,
        job=meter.job,
        generation=meter.generation,
        attempt=meter.attempt,
        start_unix_nano=last.wall_nano,
        end_unix_nano=end_unix_nano,
        cpu_nano=max(0, reading.cpu_nano - last.cpu_nano),
        memory_byte_seconds=_mean_twice(last, reading) * wall_nano // (2 * _NANO),
        wall_nano=wall_nano,
        chain_index=head.index + 1,
    )
    sample = replace(unchained, chain_hash=chain_hash(head.hash, unchained))
    reached = replace(
        reading,
        wall_nano=end_unix_nano,
        boottime_nano=max(last.boottime_nano, reading.boottime_nano),
        cpu_nano=max(last.cpu_nano, reading.cpu_nano),
    )
    return replace(meter, last=reached), ChainHead(sample.chain_index, sample.chain_hash), sample


def chain_hash(previous: bytes, sample: UsageSample) -> bytes:
    """SHA-256 over the previous hash (32 zero bytes at first) and the sample's figures; docs/PROTOCOL.md "The bill"."""
    figures = (
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
    return hashlib.sha256(previous + "\n".join(map(str, figures)).encode()).digest()


def _mean_twice(before: Reading, after: Reading) -> int:
    """Twice the mean memory of the window, to stay with integers."""
    if before.memory_bytes is None and after.memory_bytes is None:
        return after.memory_peak_bytes
    first = before.memory_bytes if before.memory_bytes is not None else after.memory_bytes
    second = after.memory_bytes if after.memory_bytes is not None else before.memory_bytes
    return (first or 0) + (second or 0)
