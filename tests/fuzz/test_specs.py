"""Generated job specs through admission: whatever is asked, no line is passed and every decision explains itself.

500 specs with `./dev test`, 20,000 with EDGE_FUZZ=full.
"""

import os
import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.jobs.admission import Account, Admit, Preempt, Refusal, decide, overdrawn
from agent.jobs.budget import Spending
from agent.jobs.room import Capacity, Holder
from agent.spec import (
    Budget,
    JobKind,
    JobSpec,
    Limits,
    MqttGrant,
    Network,
    Priority,
    Publish,
    Quota,
    Reserve,
    RestartMode,
    RestartPolicy,
    Tenant,
)

SPECS_AT_ONCE = 10
EXAMPLES = (20_000 if os.environ.get("EDGE_FUZZ") == "full" else 500) // SPECS_AT_ONCE
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
REASONS = {
    "unknown-tenant", "no-memory-controller", "spool-full", "not-store", "no-network", "budget", "network-quota",
    "tenant-jobs", "tenant-cpu", "tenant-memory", "tenant-disk", "tenant-network-rate", "tenant-ports",
    "tenant-mqtt-topics", "no-mqtt", "port-taken", "store-disk", "guaranteed-cpu", "guaranteed-memory", "store-cpu",
    "store-memory", "store-runs",
}  # fmt: skip
FIGURES = re.compile(r"asks (\d+), (\d+) of (\d+) taken, (\d+) too many$")
MONTH = 24_322


def scarce(most: int) -> st.SearchStrategy[int]:
    """Small, none, or as much as there is, and a little more or less."""
    return st.sampled_from([0, 1, most // 7, most // 3, most // 2, most - 1, most, most + 1])


NETWORKS = st.builds(
    Network,
    publish=st.lists(st.builds(Publish, st.integers(8000, 8003), st.just(80), st.sampled_from(["tcp", "udp"])),
                     max_size=2, unique_by=lambda one: (one.protocol, one.port)).map(tuple),
    bits_per_second=st.sampled_from([64_000, 10**7, 10**9]),
    bytes_per_month=st.sampled_from([0, 0, 500]),
)  # fmt: skip
SPECS = st.builds(
    JobSpec,
    id=st.just(""),
    generation=st.just(1),
    tenant=st.sampled_from([*["acme", "bolt", "shop", "shop"] * 8, "nobody"]),
    kind=st.sampled_from(JobKind),
    image=st.just("host"),
    command=st.just(("/bin/true",)),
    limits=st.builds(
        Limits,
        st.sampled_from([10, 100, 250, 500, 1000, 2000]),
        st.sampled_from([4 << 20, 64 << 20, 256 << 20, 512 << 20]),
        disk_bytes=st.sampled_from([0, 0, 4 << 20, 1 << 30]),
    ),
    restart=st.just(RestartPolicy(RestartMode.NEVER)),
    priority=st.sampled_from([Priority.SPOT, Priority.SPOT, Priority.GUARANTEED, Priority.STORE]),
    network=st.sampled_from([False, True]).flatmap(lambda wanted: NETWORKS if wanted else st.none()),
    mqtt=st.sampled_from([(), (), (MqttGrant("a", channel="#"),), (MqttGrant(zone="z"), MqttGrant("b"))]),
)
WIDE = Quota(99, 99_000, 1 << 50, 1 << 50, 10**12, 1 << 50, 99, 99)
SCARCE = st.builds(
    Quota, st.integers(0, 5), scarce(4000), scarce(2 << 30), scarce(2 << 30), scarce(10**9), scarce(1000),
    st.integers(0, 3), st.integers(0, 3),
)  # fmt: skip
QUOTAS = st.sampled_from([True, True, True, False]).flatmap(lambda wide: st.just(WIDE) if wide else SCARCE)
SPENDINGS = st.builds(
    Spending, st.sampled_from([*[0, 99] * 4, 100]), st.just(0), st.just(MONTH), st.sampled_from([0, 0, 0, 999])
)
RESERVES = st.builds(Reserve, scarce(1500), scarce(1 << 29), scarce(1 << 29))


MOSTLY = st.sampled_from([True] * 19 + [False])


@st.composite
def boxes(draw: st.DrawFn) -> Capacity:
    one, other = draw(RESERVES), draw(RESERVES)
    largest = Reserve(
        max(one.cpu_milli, other.cpu_milli),
        max(one.memory_bytes, other.memory_bytes),
        max(one.disk_bytes, other.disk_bytes),
    )
    return Capacity(
        cpu_milli=draw(st.sampled_from([1000, 4000, 8000])),
        memory_bytes=draw(st.sampled_from([512 << 20, 4 << 30])),
        memory_controller=draw(MOSTLY),
        disk_bytes=draw(st.sampled_from([0, 1 << 30, 8 << 30, 8 << 30])),
        runs=draw(st.sampled_from([3, 64, 64])),
        network=draw(MOSTLY),
        mqtt=draw(MOSTLY),
        reserve=one,
        largest=largest,
        month=MONTH,
        spool_takes=draw(MOSTLY),
    )


ACCOUNTS = st.fixed_dictionaries(
    {
        name: st.builds(
            lambda quota, budget, spending, name=name: Account(
                Tenant(name, quota=quota, budget=budget, store=name == "shop"), spending
            ),
            QUOTAS,
            st.sampled_from([None, None, Budget(100)]),
            SPENDINGS,
        )
        for name in ("acme", "bolt", "shop")
    }
)
BATCHES = st.lists(SPECS, min_size=SPECS_AT_ONCE, max_size=SPECS_AT_ONCE).map(
    lambda specs: [replace(spec, id=f"j{n}") for n, spec in enumerate(specs)]
)


@pytest.mark.timeout(600)
@FUZZ
@given(BATCHES, ACCOUNTS, boxes(), st.lists(st.booleans(), min_size=SPECS_AT_ONCE, max_size=SPECS_AT_ONCE))
def test_no_line_is_ever_passed_and_every_decision_explains_itself(specs, accounts, box, at_once) -> None:
    holders: list[Holder] = []
    for number, spec in enumerate(specs):
        decision = decide(spec, holders, accounts, box)
        assert decision == decide(spec, tuple(holders), accounts, box)
        same = decide(spec, holders[::-1], accounts, box)
        assert type(same) is type(decision)
        match decision:
            case Admit():
                holders.append(Holder(spec, float(number), disk_bytes=spec.limits.disk_bytes))
                within_all_lines(spec, holders, accounts, box)
            case Preempt(victims=victims, message=message):
                assert message
                assert same.victims == victims
                holders = give_way(spec, holders, victims, accounts, box)
                if at_once[number]:
                    holders = [one for one in holders if not one.leaving]
            case Refusal():
                explained(spec, decision, accounts)


def within_all_lines(spec, holders, accounts, box) -> None:
    """Counted anew, resource by resource, by other words than admission's."""
    account = accounts[spec.tenant]
    quota = account.tenant.quota
    active = [one.spec for one in holders]
    own = [one for one in active if one.tenant == spec.tenant]
    tenants = [one for one in active if one.priority is not Priority.STORE]
    assert box.memory_controller and box.spool_takes
    assert spec.priority is not Priority.STORE or account.tenant.store
    assert account.tenant.budget is None or account.spending.micro < account.tenant.budget.credit_micro
    assert len(active) <= box.runs and len(own) <= quota.jobs
    for whole, kept, most, get in (
        (box.cpu_milli, box.reserve.cpu_milli, quota.cpu_milli, lambda one: one.limits.cpu_milli),
        (box.memory_bytes, box.reserve.memory_bytes, quota.memory_bytes, lambda one: one.limits.memory_bytes),
    ):
        assert sum(map(get, active)) <= whole
        assert sum(map(get, own)) <= most
        if spec.priority is not Priority.STORE:
            assert sum(map(get, tenants)) <= max(0, whole - kept)
    if spec.priority is Priority.GUARANTEED:
        sure = [one for one in active if one.priority is Priority.GUARANTEED]
        assert sum(one.limits.cpu_milli for one in sure) <= box.cpu_milli - box.largest.cpu_milli
        assert sum(one.limits.memory_bytes for one in sure) <= box.memory_bytes - box.largest.memory_bytes
    if spec.limits.disk_bytes:
        disks = sum(one.limits.disk_bytes for one in active)
        assert disks <= box.disk_bytes - (0 if spec.priority is Priority.STORE else box.largest.disk_bytes)
        assert sum(one.limits.disk_bytes for one in own) <= quota.disk_bytes
    if spec.mqtt:
        assert box.mqtt
        assert sum(len(one.mqtt) for one in own) <= quota.mqtt_topics
    if spec.network is not None:
        assert box.network and account.spending.month_bytes < quota.network_bytes_per_month
        assert sum(one.network.bits_per_second for one in own if one.network) <= quota.network_bits_per_second
        ports = [(port.protocol, port.port) for one in active if one.network for port in one.network.publish]
        assert len(ports) == len(set(ports))


def give_way(spec, holders, victims, accounts, box) -> list[Holder]:
    """The victims marked as leaving: enough, all needed, all lower, and nobody's room is given before it is free."""
    for victim in victims:
        assert victim in holders and not victim.leaving and victim.spec.priority < spec.priority
    marked = [replace(one, leaving=True) if one in victims else one for one in holders]
    waiting = decide(spec, marked, accounts, box)
    assert isinstance(waiting, Preempt) and waiting.victims == ()
    gone = [replace(one, room=False, leaving=False) if one.leaving else one for one in marked]
    assert decide(spec, gone, accounts, box) == Admit()
    for victim in victims:
        spared = [victim if one.spec.id == victim.spec.id else one for one in gone]
        assert decide(spec, spared, accounts, box) != Admit()
    if any(victim.spec.priority is Priority.GUARANTEED for victim in victims):
        no_spot = [replace(one, room=False) if one.spec.priority is Priority.SPOT else one for one in holders]
        staying = [replace(one, room=False, leaving=False) if one.leaving else one for one in no_spot]
        assert decide(spec, staying, accounts, box) != Admit()
    return marked


def explained(spec, refusal, accounts) -> None:
    assert refusal.reason in REASONS and refusal.message
    if refusal.reason == "unknown-tenant":
        assert spec.tenant not in accounts
    if (figures := FIGURES.search(refusal.message)) is not None:
        asks, taken, limit, excess = map(int, figures.groups())
        assert asks > 0 and excess > 0 and taken + asks - limit == excess
    elif refusal.reason.startswith(("tenant-", "store-", "guaranteed-")):
        raise AssertionError(f"no figures: {refusal.message}")


@pytest.mark.timeout(600)
@FUZZ
@given(BATCHES, boxes(), RESERVES)
def test_a_reserve_that_grows_takes_only_from_spot_and_only_what_it_needs(specs, box, reserve) -> None:
    holders = [Holder(spec, float(number)) for number, spec in enumerate(specs)]
    found = overdrawn(holders, replace(box, reserve=reserve))
    tenants = [one for one in holders if one.spec.priority is not Priority.STORE]
    left = [max(0, box.cpu_milli - reserve.cpu_milli), max(0, box.memory_bytes - reserve.memory_bytes), box.runs]

    def over(some: list[Holder]) -> bool:
        sums = [sum(one.spec.limits.cpu_milli for one in some), sum(one.spec.limits.memory_bytes for one in some)]
        return any(taken > most for taken, most in zip([*sums, len(some)], left, strict=True))

    spot = [one for one in tenants if one.spec.priority is Priority.SPOT]
    if found is None:
        assert not over(tenants) or not spot
        return
    assert over(tenants) and found.message
    assert all(victim.spec.priority is Priority.SPOT for victim in found.victims)
    rest = [one for one in tenants if one not in found.victims]
    assert not over(rest) or len(found.victims) == len(spot)
    if not over(rest):
        for victim in found.victims:
            assert over([*rest, victim])
