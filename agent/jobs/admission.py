"""Whether a job may start: its declared need against the tenant's quota and what the store leaves to tenants. Pure.

What counts is what is declared, not what is used: a job that was admitted always finds its room. A job holds its
room from its admission to its end, also while it backs off between two runs. A rejected job is looked at again each
time the desired state arrives and each time a job gives its room back; the order is that of the desired state, and a
small job may pass a big one that waits. A quota that shrinks stops nobody: it counts at the next admission.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.spec import JobSpec, Tenant


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the box leaves to all tenants together."""

    cpu_milli: int
    memory_bytes: int
    memory_controller: bool  # without it no memory limit holds
    spool_takes: bool = True  # the bill can be written; if not, new work is refused before a record is lost


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: str
    message: str


def refusal(
    spec: JobSpec, admitted: Iterable[JobSpec], tenants: Mapping[str, Tenant], capacity: Capacity
) -> Refusal | None:
    """Why `spec` can't start beside `admitted`, or None if it can. The first limit that is in the way is named."""
    tenant = tenants.get(spec.tenant)
    if tenant is None:
        return Refusal("unknown-tenant", f"tenant {spec.tenant} is not in the desired state")
    if not capacity.memory_controller:
        return Refusal(
            "no-memory-controller",
            "the kernel enforces no memory limits; on a Raspberry Pi add cgroup_enable=memory to cmdline.txt",
        )
    if not capacity.spool_takes:
        return Refusal("spool-full", "usage records can't be stored at the moment, so no new work is taken")
    everybody = tuple(admitted)
    own = [other for other in everybody if other.tenant == spec.tenant]
    quota, limits = tenant.quota, spec.limits
    own_cpu, all_cpu = _cpu(own), _cpu(everybody)
    own_memory, all_memory = _memory(own), _memory(everybody)
    whose = f"tenant {tenant.id}"
    return (
        _over("tenant-jobs", f"{whose}: jobs at once", 1, len(own), quota.jobs)
        or _over("tenant-cpu", f"{whose}: thousandths of a core", limits.cpu_milli, own_cpu, quota.cpu_milli)
        or _over("tenant-memory", f"{whose}: bytes of memory", limits.memory_bytes, own_memory, quota.memory_bytes)
        or _over("store-cpu", "store: thousandths of a core", limits.cpu_milli, all_cpu, capacity.cpu_milli)
        or _over("store-memory", "store: bytes of memory", limits.memory_bytes, all_memory, capacity.memory_bytes)
    )


def _over(reason: str, what: str, asked: int, used: int, limit: int) -> Refusal | None:
    excess = used + asked - limit
    if excess <= 0:
        return None
    return Refusal(reason, f"{what}: asks {asked}, {used} of {limit} taken, {excess} too many")


def _cpu(specs: Iterable[JobSpec]) -> int:
    return sum(spec.limits.cpu_milli for spec in specs)


def _memory(specs: Iterable[JobSpec]) -> int:
    return sum(spec.limits.memory_bytes for spec in specs)
