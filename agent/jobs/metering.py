"""Readings of a run's counters -> windows of the bill, chained by hash per tenant. Pure.

Memory between two looks is the mean of both. A run's memory can't be looked at before its start or after its end:
there the one look beside it counts, and a run too short to be looked at counts half of its peak. A look needs no
window of its own: `look` adds to the window that is open, so that memory can be read more often than it is billed.
What a run used between its last window and a reboot is not billed: nobody can know it.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from agent.model import ChainLink, UsageSample

_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """A run's counters since it began."""

    boottime_nano: int
    wall_nano: int
    cpu_nano: int
    memory_bytes: int | None  # in use at this moment; None before the run's start and after its end
    memory_peak_bytes: int = 0
    network_receive_bytes: int = 0
    network_transmit_bytes: int = 0
    disk_bytes: int = 0  # reserved


@dataclass(frozen=True, slots=True)
class Meter:
    """One run, billed up to `last`; its memory was looked at up to `looked_at`."""

    run: str
    tenant: str
    job: str
    generation: int
    attempt: int
    last: Reading
    looked_at: int = 0  # boottime_nano; that of `last` where it is later
    looked_bytes: int | None = None
    held: int = 0  # byte-nanoseconds between `last` and `looked_at`, doubled to stay with integers


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The newest link of one tenant's chain."""

    index: int = 0
    hash: bytes = bytes(32)


def look(meter: Meter, reading: Reading) -> Meter:
    """Count the memory up to this reading; nothing is billed yet. A look without a figure, or of the past, is none."""
    if reading.memory_bytes is None or reading.boottime_nano < _looked(meter)[0]:
        return meter
    return replace(
        meter, looked_at=reading.boottime_nano, looked_bytes=reading.memory_bytes, held=_held(meter, reading)
    )


def bill(meter: Meter, reading: Reading, head: ChainHead) -> tuple[Meter, ChainHead, UsageSample]:
    """The window from the meter's last reading to this one, as the next link of the tenant's chain.

    A clock or a counter that went backwards gives an empty window, never a negative one, and is not billed again
    until it has passed where it was.
    """
    last = meter.last
    reached = replace(
        reading,
        boottime_nano=max(last.boottime_nano, reading.boottime_nano),
        wall_nano=max(last.wall_nano, reading.wall_nano),
        cpu_nano=max(last.cpu_nano, reading.cpu_nano),
        network_receive_bytes=max(last.network_receive_bytes, reading.network_receive_bytes),
        network_transmit_bytes=max(last.network_transmit_bytes, reading.network_transmit_bytes),
        disk_bytes=max(last.disk_bytes, reading.disk_bytes),  # a disk only grows
    )
    wall_nano = reached.boottime_nano - last.boottime_nano
    unchained = UsageSample(
        tenant=meter.tenant,
        job=meter.job,
        generation=meter.generation,
        attempt=meter.attempt,
        start_unix_nano=last.wall_nano,
        end_unix_nano=reached.wall_nano,
        cpu_nano=reached.cpu_nano - last.cpu_nano,
        memory_byte_seconds=_held(meter, reading) // (2 * _NANO),
        wall_nano=wall_nano,
        network_receive_bytes=reached.network_receive_bytes - last.network_receive_bytes,
        network_transmit_bytes=reached.network_transmit_bytes - last.network_transmit_bytes,
        disk_byte_seconds=reached.disk_bytes * wall_nano // _NANO,
        chain_index=head.index + 1,
    )
    sample = replace(unchained, chain_hash=chain_hash(head.hash, unchained))
    meter = replace(meter, last=reached, looked_at=0, looked_bytes=None, held=0)
    return meter, ChainHead(sample.chain_index, sample.chain_hash), sample


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


def seal_text(heads: Iterable[ChainLink]) -> bytes:
    """What the node signs: the newest link of every tenant's chain; docs/PROTOCOL.md "The bill"."""
    links = sorted(heads, key=lambda link: link.tenant)
    lines = (f"{link.tenant}\n{link.chain_index}\n{link.chain_hash.hex()}\n" for link in links)
    return ("storeedge-usage-seal-v1\n" + "".join(lines)).encode()


def _looked(meter: Meter) -> tuple[int, int | None]:
    """When memory was last looked at, and what was seen."""
    last = meter.last
    if meter.looked_bytes is None or meter.looked_at < last.boottime_nano:
        return last.boottime_nano, last.memory_bytes
    return meter.looked_at, meter.looked_bytes


def _held(meter: Meter, reading: Reading) -> int:
    """Twice the byte-nanoseconds of memory from the meter's last reading to this one."""
    since, before = _looked(meter)
    after = reading.memory_bytes
    if before is None and after is None:
        twice = reading.memory_peak_bytes
    else:
        twice = (after if before is None else before) or 0
        twice += (before if after is None else after) or 0
    return meter.held + twice * max(0, reading.boottime_nano - since)
