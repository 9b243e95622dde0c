"""Whether a job may start, and who gives way for it. Pure.

What counts is what is declared, not what is used: a job that was admitted always finds its room. A job holds its
room from its admission to its end, also while it backs off between two runs. A quota that shrinks stops nobody: it
counts at the next admission. Three lines bound the classes: SPOT and GUARANTEED together leave the store its reserve
of the moment, GUARANTEED alone its largest of the week, and all together, STORE included, fit the machine. So trading
hours that begin only ever take from SPOT.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.jobs import budget, preemption
from agent.jobs.budget import Spending
from agent.jobs.room import NOTHING, Capacity, Holder, left, needs, of_tenants, tenants_excess, total, whole
from agent.spec import JobSpec, Priority, Tenant


@dataclass(frozen=True, slots=True)
class Account:
    tenant: Tenant
    spending: Spending = field(default_factory=Spending)


@dataclass(frozen=True, slots=True)
class Admit:
    pass


@dataclass(frozen=True, slots=True)
class Preempt:
    """There will be room once `victims`, and all who are leaving, are gone. None: those who leave are enough."""

    victims: tuple[Holder, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: str
    message: str


Decision = Admit | Preempt | Refusal


# What stops a job only because others are there, whose room can be had. Disk can't: it is kept between runs.
_ROOM = frozenset({"store-cpu", "store-memory", "store-runs"})


def decide(spec: JobSpec, holders: Iterable[Holder], accounts: Mapping[str, Account], capacity: Capacity) -> Decision:
    """What becomes of a job that waits. The first limit that is in the way is named.

    Victims are of a lower class: none of GUARANTEED where SPOT is enough, then few, then the youngest.
    """
    account = accounts.get(spec.tenant)
    if account is None:
        return Refusal("unknown-tenant", f"tenant {spec.tenant} is not in the desired state")
    barred = _barred(spec, account, capacity)
    if barred is not None:
        return barred
    everyone = [holder for holder in holders if holder.spec.id != spec.id or not holder.room]
    if _in_the_way(spec, everyone, account.tenant, capacity) is None:
        return Admit()
    staying = [replace(holder, room=False, leaving=False) if holder.leaving else holder for holder in everyone]
    refusal = _in_the_way(spec, staying, account.tenant, capacity)
    if refusal is None:
        return Preempt((), "there will be room once jobs that were asked to stop are gone")
    if refusal.reason not in _ROOM:
        return refusal
    victims = preemption.victims(spec, staying, capacity)
    if victims is None or _guaranteed_line(spec, staying, capacity) is not None:
        return refusal
    return Preempt(victims, f"{len(victims)} of lower priority must stop first; {refusal.message}")


def overdrawn(holders: Iterable[Holder], capacity: Capacity) -> Preempt | None:
    """The SPOT jobs that must go because the store's reserve has grown; all of them while the box is too hot."""
    staying = [holder for holder in holders if holder.room and not holder.leaving]
    if capacity.heat:
        spot = preemption.youngest(holder for holder in staying if holder.spec.priority is Priority.SPOT)
        return Preempt(tuple(spot), capacity.heat) if spot else None
    need = tenants_excess(NOTHING, staying, capacity)
    if not any(need):
        return None
    spot = preemption.youngest(holder for holder in staying if holder.spec.priority is Priority.SPOT)
    victims = preemption.cover(need, spot)
    if victims is None:  # a policy that leaves even GUARANTEED no room stops all the others
        victims = tuple(spot)
    if not victims:
        return None
    cpu, memory, _ = need
    why = f"the store keeps more{f' ({capacity.hours})' if capacity.hours else ''}"
    return Preempt(victims, f"{why}: thousandths of a core {cpu} too many, bytes of memory {memory} too many")


# --- limits --------------------------------------------------------------------------------------


def _barred(spec: JobSpec, account: Account, capacity: Capacity) -> Refusal | None:
    """What no room in the world would change."""
    tenant, spending = account.tenant, account.spending
    if not capacity.memory_controller:
        return Refusal(
            "no-memory-controller",
            "the kernel enforces no memory limits; on a Raspberry Pi add cgroup_enable=memory to cmdline.txt",
        )
    if not capacity.spool_takes:
        return Refusal("spool-full", "usage records can't be stored at the moment, so no new work is taken")
    if capacity.heat and spec.priority is not Priority.STORE:
        return Refusal("too-hot", capacity.heat)
    if spec.priority is Priority.STORE and not tenant.store:
        return Refusal("not-store", f"tenant {tenant.id}: priority store is for the store's own tenants")
    if spec.network is not None and not capacity.network:
        return Refusal("no-network", "runs can't have a network on this box: edge-agent doctor says why")
    if spec.mqtt and not capacity.mqtt:
        return Refusal("no-mqtt", "runs can't reach a broker on this box: root's launcher.toml or [mqtt] is against it")
    if broke := budget.exhausted(tenant, spending):
        return Refusal("budget", broke)
    if spent := budget.network_spent(spec, tenant, spending, capacity.month):
        return Refusal("network-quota", spent)
    return None


def _in_the_way(spec: JobSpec, others: Sequence[Holder], tenant: Tenant, capacity: Capacity) -> Refusal | None:
    active = [holder for holder in others if holder.room]
    return (
        _quota(spec, [holder for holder in others if holder.spec.tenant == tenant.id], tenant)
        or _ports(spec, active)
        or _disk(spec, others, capacity)
        or _guaranteed_line(spec, active, capacity)
        or _store(spec, active, capacity)
    )


def _quota(spec: JobSpec, own: Sequence[Holder], tenant: Tenant) -> Refusal | None:
    specs = [holder.spec for holder in own if holder.room]
    quota, whose = tenant.quota, f"tenant {tenant.id}"
    lines = (
        ("jobs", "jobs at once", 1, len(specs), quota.jobs),
        ("cpu", "thousandths of a core", spec.limits.cpu_milli, sum(_cpu(s) for s in specs), quota.cpu_milli),
        ("memory", "bytes of memory", spec.limits.memory_bytes, sum(_memory(s) for s in specs), quota.memory_bytes),
        ("disk", "bytes of disk", _disk_asked(spec, own), _disk_taken(spec, own), quota.disk_bytes),
        ("network-rate", "bits per second", _rate(spec), sum(_rate(s) for s in specs), quota.network_bits_per_second),
        ("ports", "published ports", len(_published(spec)), sum(len(_published(s)) for s in specs),
         quota.published_ports),
        ("mqtt-topics", "mqtt grants", len(spec.mqtt), sum(len(s.mqtt) for s in specs), quota.mqtt_topics),
    )  # fmt: skip
    for name, what, asked, taken, limit in lines:
        refusal = _over(f"tenant-{name}", f"{whose}: {what}", asked, taken, limit)
        if refusal is not None:
            return refusal
    return None


def _ports(spec: JobSpec, others: Iterable[Holder]) -> Refusal | None:
    taken = {port for holder in others for port in _published(holder.spec)}
    for protocol, port in _published(spec):
        if (protocol, port) in taken:
            return Refusal("port-taken", f"{protocol} port {port} of the store is published by another job")
    return None


def _disk(spec: JobSpec, others: Sequence[Holder], capacity: Capacity) -> Refusal | None:
    """Always against the largest reserve: a disk that is there can't be had back when trading begins."""
    limit = capacity.disk_bytes - (0 if spec.priority is Priority.STORE else capacity.largest.disk_bytes)
    return _over("store-disk", "store: bytes of disk", _disk_asked(spec, others), _disk_taken(spec, others), limit)


def _guaranteed_line(spec: JobSpec, others: Iterable[Holder], capacity: Capacity) -> Refusal | None:
    if spec.priority is not Priority.GUARANTEED:
        return None
    kept = capacity.largest
    taken = [other.spec for other in others if other.room and other.spec.priority is Priority.GUARANTEED]
    cpu, memory = sum(_cpu(other) for other in taken), sum(_memory(other) for other in taken)
    whose = "store: for guaranteed jobs, at the largest reserve of the week"
    return _over(
        "guaranteed-cpu", f"{whose}: thousandths of a core", _cpu(spec), cpu, capacity.cpu_milli - kept.cpu_milli
    ) or _over(
        "guaranteed-memory",
        f"{whose}: bytes of memory",
        _memory(spec),
        memory,
        capacity.memory_bytes - kept.memory_bytes,
    )


def _store(spec: JobSpec, others: Sequence[Holder], capacity: Capacity) -> Refusal | None:
    """Against what the store leaves at this moment, and against all there is."""
    asked = needs(spec)
    names = (("cpu", "thousandths of a core"), ("memory", "bytes of memory"), ("runs", "runs at once"))
    lines = [(others, whole(capacity), " in all")]
    if spec.priority is not Priority.STORE:
        kept = f" ({capacity.hours})" if capacity.hours else ""
        lines.insert(0, (of_tenants(others), left(capacity), kept))
    for counted, limits, why in lines:
        taken = total(counted)
        for (name, what), a, t, limit in zip(names, asked, taken, limits, strict=True):
            refusal = _over(f"store-{name}", f"store: {what}{why}", a, t, limit)
            if refusal is not None:
                return refusal
    return None


def _over(reason: str, what: str, asked: int, taken: int, limit: int) -> Refusal | None:
    """A limit is in the way only of what asks for some of it."""
    limit = max(0, limit)
    excess = taken + asked - limit
    if asked == 0 or excess <= 0:
        return None
    return Refusal(reason, f"{what}: asks {asked}, {taken} of {limit} taken, {excess} too many")


# --- what jobs ask for ---------------------------------------------------------------------------


def _cpu(spec: JobSpec) -> int:
    return spec.limits.cpu_milli


def _memory(spec: JobSpec) -> int:
    return spec.limits.memory_bytes


def _rate(spec: JobSpec) -> int:
    return spec.network.bits_per_second if spec.network is not None else 0


def _published(spec: JobSpec) -> tuple[tuple[str, int], ...]:
    return tuple((one.protocol, one.port) for one in spec.network.publish) if spec.network is not None else ()


def _disk_asked(spec: JobSpec, others: Iterable[Holder]) -> int:
    """Its own disk from before is kept, and only grows."""
    kept = [holder.disk_bytes for holder in others if holder.spec.id == spec.id]
    return max([spec.limits.disk_bytes, *kept])


def _disk_taken(spec: JobSpec, others: Iterable[Holder]) -> int:
    held = (holder for holder in others if holder.spec.id != spec.id)
    return sum(max(holder.disk_bytes, holder.spec.limits.disk_bytes if holder.room else 0) for holder in held)
