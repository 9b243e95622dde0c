"""What the box has, who has some of it, and how much is too much. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.spec import JobSpec, Priority, Reserve

# Of what can be taken back from a job: thousandths of a core, bytes of memory, runs. Disk can't: it is kept.
Amounts = tuple[int, int, int]
NOTHING: Amounts = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Capacity:
    """The whole box, and what of it the store keeps for itself."""

    cpu_milli: int
    memory_bytes: int
    memory_controller: bool  # without it no memory limit holds
    disk_bytes: int = 0
    runs: int = 64  # that the launcher's policy allows at once
    network: bool = False  # runs can have a network here
    mqtt: bool = False  # runs can reach the store's broker here
    reserve: Reserve = field(default_factory=Reserve)  # at this moment
    largest: Reserve = field(default_factory=Reserve)  # at any time of the week
    hours: str = ""  # why `reserve` is what it is, for people
    month: int = 0  # budget.month_of(now)
    spool_takes: bool = True  # the bill can be written; if not, new work is refused before a record is lost
    heat: str = ""  # why the box is too hot for the work of tenants, for people; empty while it isn't


@dataclass(frozen=True, slots=True)
class Holder:
    """A job that has something of the box. `since`: seconds of CLOCK_BOOTTIME at its newest start."""

    spec: JobSpec
    since: float = 0.0
    room: bool = True  # False: nothing but the disk it keeps
    leaving: bool = False  # was asked to stop, and will not take its room again by itself
    disk_bytes: int = 0  # reserved on disk for it already


def whole(capacity: Capacity) -> Amounts:
    return capacity.cpu_milli, capacity.memory_bytes, capacity.runs


def left(capacity: Capacity) -> Amounts:
    """What the store leaves to tenants at this moment."""
    kept = capacity.reserve
    return max(0, capacity.cpu_milli - kept.cpu_milli), max(0, capacity.memory_bytes - kept.memory_bytes), capacity.runs


def needs(spec: JobSpec) -> Amounts:
    return spec.limits.cpu_milli, spec.limits.memory_bytes, 1


def total(holders: Iterable[Holder]) -> Amounts:
    amounts = [needs(holder.spec) for holder in holders if holder.room]
    return sum(cpu for cpu, _, _ in amounts), sum(memory for _, memory, _ in amounts), len(amounts)


def of_tenants(holders: Iterable[Holder]) -> list[Holder]:
    """All that the store's reserve is kept from."""
    return [holder for holder in holders if holder.spec.priority is not Priority.STORE]


def excess(asked: Amounts, taken: Amounts, limit: Amounts) -> Amounts:
    cpu, memory, runs = (max(0, a + t - most) for a, t, most in zip(asked, taken, limit, strict=True))
    return cpu, memory, runs


def tenants_excess(asked: Amounts, holders: Iterable[Holder], capacity: Capacity) -> Amounts:
    return excess(asked, total(of_tenants(holders)), left(capacity))
