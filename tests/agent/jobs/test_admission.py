"""Admission: each limit, named with its figures, and never more admitted than there is."""

from dataclasses import replace

import pytest

from agent.jobs.admission import Account, Admit, Preempt, Refusal, decide, overdrawn
from agent.jobs.budget import Spending
from agent.jobs.room import Capacity, Holder
from agent.spec import Budget, Limits, MqttGrant, Network, Priority, Publish, Quota, Reserve, Tenant
from tests.fakes.jobs import batch

ROOM = Capacity(cpu_milli=1500, memory_bytes=1 << 30, memory_controller=True, disk_bytes=1000, network=True, mqtt=True)
ACME = {"acme": Account(Tenant("acme", quota=Quota(jobs=2, cpu_milli=1000, memory_bytes=600 << 20)))}
WIDE = Quota(99, 99_000, 1 << 50, 1 << 50, 10**12, 1 << 50, 99, 99)
MANY = {
    "acme": Account(Tenant("acme", quota=WIDE)),
    "bolt": Account(Tenant("bolt", quota=WIDE)),
    "shop": Account(Tenant("shop", quota=WIDE, store=True)),
}
SPOT, GUARANTEED, STORE = Priority.SPOT, Priority.GUARANTEED, Priority.STORE


def asks(cpu_milli=100, memory_mib=64, tenant="acme", id_="b", **changes):
    disk = changes.pop("disk", 0)
    return batch(id_, tenant=tenant, limits=Limits(cpu_milli, memory_mib << 20, disk_bytes=disk), **changes)


def has(cpu_milli=100, memory_mib=64, tenant="acme", id_="x", **changes):
    holding = {name: changes.pop(name) for name in ("since", "room", "leaving", "disk_bytes") if name in changes}
    return Holder(asks(cpu_milli, memory_mib, tenant, id_, **changes), **holding)


def test_what_fits_is_admitted_to_the_last_unit() -> None:
    assert decide(asks(500, 300), [has(500, 300)], ACME, ROOM) == Admit()


@pytest.mark.parametrize(
    ("spec", "admitted", "capacity", "expected"),
    [
        (
            asks(tenant="nobody"),
            [],
            ROOM,
            Refusal("unknown-tenant", "tenant nobody is not in the desired state"),
        ),
        (
            asks(),
            [has(), has(id_="y")],
            ROOM,
            Refusal("tenant-jobs", "tenant acme: jobs at once: asks 1, 2 of 2 taken, 1 too many"),
        ),
        (
            asks(700),
            [has(500)],
            ROOM,
            Refusal("tenant-cpu", "tenant acme: thousandths of a core: asks 700, 500 of 1000 taken, 200 too many"),
        ),
        (
            asks(memory_mib=400),
            [has(memory_mib=300)],
            ROOM,
            Refusal(
                "tenant-memory",
                "tenant acme: bytes of memory: asks 419430400, 314572800 of 629145600 taken, 104857600 too many",
            ),
        ),
        (
            asks(1000),
            [has(600, tenant="other")],
            ROOM,
            Refusal("store-cpu", "store: thousandths of a core: asks 1000, 600 of 1500 taken, 100 too many"),
        ),
        (
            asks(memory_mib=600),
            [has(memory_mib=600, tenant="other")],
            ROOM,
            Refusal(
                "store-memory",
                "store: bytes of memory: asks 629145600, 629145600 of 1073741824 taken, 184549376 too many",
            ),
        ),
    ],
)
def test_a_refusal_names_the_limit_and_the_excess(spec, admitted, capacity, expected) -> None:
    assert decide(spec, admitted, ACME, capacity) == expected


def test_without_a_memory_controller_nothing_is_admitted_and_the_remedy_is_named() -> None:
    found = decide(asks(), [], ACME, Capacity(1500, 1 << 30, memory_controller=False))
    assert found.reason == "no-memory-controller" and "cgroup_enable=memory" in found.message


def test_while_the_bill_cannot_be_written_nothing_is_admitted() -> None:
    assert decide(asks(), [], ACME, Capacity(1500, 1 << 30, True, spool_takes=False)).reason == "spool-full"


def test_while_the_box_is_too_hot_only_the_stores_own_work_is_admitted() -> None:
    hot = replace(ROOM, heat="cpu at 91")
    assert decide(asks(), [], MANY, hot) == Refusal("too-hot", "cpu at 91")
    assert decide(asks(priority=GUARANTEED), [], MANY, hot).reason == "too-hot"
    assert decide(asks(tenant="shop", priority=STORE), [], MANY, hot) == Admit()


def test_heat_takes_all_of_spot_and_nobody_else() -> None:
    hot = replace(ROOM, heat="cpu at 91")
    holders = [
        has(id_="s1"),
        has(id_="s2", since=5.0),
        has(id_="g", priority=GUARANTEED),
        has(id_="o", priority=STORE, tenant="shop"),
        has(id_="l", leaving=True),
    ]
    found = overdrawn(holders, hot)
    assert found is not None and found.message == "cpu at 91"
    assert {holder.spec.id for holder in found.victims} == {"s1", "s2"}
    assert overdrawn(holders[2:], hot) is None


def test_a_tenant_without_a_quota_has_none() -> None:
    assert decide(asks(), [], {"acme": Account(Tenant("acme"))}, ROOM).reason == "tenant-jobs"


NET = Network(publish=(Publish(8080, 80),), bits_per_second=1000)


@pytest.mark.parametrize(
    ("quota", "asked", "reason", "said"),
    [
        (Quota(9, 9999, 1 << 40, disk_bytes=99), {"disk": 100}, "tenant-disk", "bytes of disk: asks 100, 0 of 99"),
        (Quota(9, 9999, 1 << 40, mqtt_topics=1), {"mqtt": (MqttGrant("a"), MqttGrant("b"))},
         "tenant-mqtt-topics", "1 too many"),
        (Quota(9, 9999, 1 << 40, network_bits_per_second=999, network_bytes_per_month=1, published_ports=1),
         {"network": NET}, "tenant-network-rate", "bits per second: asks 1000, 0 of 999"),
        (Quota(9, 9999, 1 << 40, network_bits_per_second=1000, network_bytes_per_month=1),
         {"network": NET}, "tenant-ports", "published ports: asks 1, 0 of 0"),
        (Quota(9, 9999, 1 << 40, network_bits_per_second=1000, published_ports=1),
         {"network": NET}, "network-quota", "0 of 0 used"),
    ],
)  # fmt: skip
def test_every_other_quota_is_named_too(quota, asked, reason, said) -> None:
    found = decide(asks(**asked), [], {"acme": Account(Tenant("acme", quota=quota))}, ROOM)
    assert found.reason == reason and said in found.message


def test_what_a_job_does_not_ask_for_no_quota_refuses() -> None:
    assert decide(asks(), [has(network=NET)], ACME, ROOM) == Admit()


def test_where_there_is_no_way_to_a_broker_jobs_with_grants_are_not_admitted() -> None:
    granted = asks(mqtt=(MqttGrant("d", channel="t"),))
    assert decide(granted, [], MANY, ROOM) == Admit()
    assert decide(granted, [], MANY, replace(ROOM, mqtt=False)).reason == "no-mqtt"
    assert decide(asks(), [], MANY, replace(ROOM, mqtt=False)) == Admit()


def test_a_port_is_published_once_on_the_node_for_each_protocol() -> None:
    other = has(tenant="bolt", network=NET)
    found = decide(asks(network=NET), [other], MANY, ROOM)
    assert found == Refusal("port-taken", "tcp port 8080 of the store is published by another job")
    udp = Network(publish=(Publish(8080, 80, "udp"),))
    assert decide(asks(network=udp), [other], MANY, ROOM) == Admit()
    leaving = has(tenant="bolt", network=NET, leaving=True)
    assert isinstance(decide(asks(network=NET), [leaving], MANY, ROOM), Preempt)


def test_without_networks_on_the_box_a_networked_job_is_refused() -> None:
    assert decide(asks(network=NET), [], MANY, Capacity(1500, 1 << 30, True)).reason == "no-network"


def test_a_tenant_that_has_spent_all_starts_nothing() -> None:
    accounts = {"acme": Account(Tenant("acme", quota=WIDE, budget=Budget(100)), Spending(100))}
    assert decide(asks(), [], accounts, ROOM) == Refusal("budget", "tenant acme: spent 100 of 100 millionths paid in")


def test_priority_store_is_for_the_store() -> None:
    assert decide(asks(priority=STORE), [], MANY, ROOM).reason == "not-store"
    assert decide(asks(priority=STORE, tenant="shop"), [], MANY, ROOM) == Admit()


def test_disk_is_kept_without_a_run_and_is_nobodys_to_take() -> None:
    idle = has(room=False, disk_bytes=950)
    found = decide(asks(disk=100, priority=STORE, tenant="shop"), [idle], MANY, ROOM)
    assert found == Refusal("store-disk", "store: bytes of disk: asks 100, 950 of 1000 taken, 50 too many")
    assert decide(asks(disk=960, id_="x"), [idle], MANY, ROOM) == Admit()  # its own, grown


def test_the_disk_of_tenants_leaves_the_largest_reserve_and_the_stores_own_does_not_have_to() -> None:
    room = Capacity(1500, 1 << 30, True, 1000, largest=Reserve(disk_bytes=100))
    assert decide(asks(disk=901), [], MANY, room).reason == "store-disk"
    assert decide(asks(disk=1000, priority=STORE, tenant="shop"), [], MANY, room) == Admit()


def test_runs_at_once_are_bounded_by_the_launcher() -> None:
    room = Capacity(15000, 1 << 40, True, runs=2)
    found = decide(asks(), [has(), has(id_="y")], MANY, room)
    assert found == Refusal("store-runs", "store: runs at once: asks 1, 2 of 2 taken, 1 too many")


# --- three classes against the reserve ---

HOURS = Capacity(
    4000, 1 << 40, True, reserve=Reserve(1000), largest=Reserve(3000), hours="trading hours 08:00-20:00 UTC"
)


def test_spot_takes_what_is_free_now_and_is_told_whose_hours_these_are() -> None:
    assert decide(asks(3000), [], MANY, HOURS) == Admit()
    found = decide(asks(3001), [], MANY, HOURS)
    said = "store: thousandths of a core (trading hours 08:00-20:00 UTC): asks 3001, 0 of 3000 taken, 1 too many"
    assert found == Refusal("store-cpu", said)


def test_guaranteed_is_measured_by_the_largest_reserve_of_the_week() -> None:
    assert decide(asks(1000, priority=GUARANTEED), [], MANY, HOURS) == Admit()
    found = decide(asks(600, priority=GUARANTEED), [has(500, priority=GUARANTEED)], MANY, HOURS)
    assert found.reason == "guaranteed-cpu" and "100 too many" in found.message


def test_the_store_may_use_its_reserve() -> None:
    others = [has(3000)]
    assert decide(asks(1000, priority=STORE, tenant="shop"), others, MANY, HOURS) == Admit()
    assert isinstance(decide(asks(1), others, MANY, HOURS), Refusal)


def test_who_is_leaving_is_waited_for_and_nobody_else_is_stopped() -> None:
    found = decide(asks(1000), [has(3000, leaving=True)], MANY, HOURS)
    assert found == Preempt((), "there will be room once jobs that were asked to stop are gone")


def test_a_higher_class_takes_room_and_says_from_how_many_and_why() -> None:
    victim = has(3000)
    found = decide(asks(500, priority=GUARANTEED), [victim], MANY, HOURS)
    assert isinstance(found, Preempt) and found.victims == (victim,)
    assert found.message.startswith("1 of lower priority must stop first; store: thousandths of a core")
    assert isinstance(decide(asks(500), [victim], MANY, HOURS), Refusal)  # never its own class


def test_spot_that_cannot_help_a_guaranteed_job_is_not_stopped() -> None:
    others = [has(2500, id_="spot"), has(900, id_="g", priority=GUARANTEED)]
    assert decide(asks(500, priority=GUARANTEED), others, MANY, HOURS).reason == "guaranteed-cpu"


def test_when_the_reserve_grows_the_youngest_spot_that_is_enough_goes() -> None:
    running = [has(500, id_="old", since=1.0), has(500, id_="young", since=9.0), has(500, id_="g", priority=GUARANTEED)]
    closed = Capacity(4000, 1 << 40, True, reserve=Reserve(2500))
    assert overdrawn(running, closed) is None
    opened = Capacity(4000, 1 << 40, True, reserve=Reserve(3000), hours="trading hours 08:00-20:00 UTC")
    found = overdrawn(running, opened)
    assert [holder.spec.id for holder in found.victims] == ["young"]
    assert "trading hours 08:00-20:00 UTC" in found.message and "thousandths of a core 500 too many" in found.message


def test_a_reserve_that_leaves_nothing_stops_all_spot_and_no_guaranteed() -> None:
    running = [has(500, id_="spot"), has(500, id_="g", priority=GUARANTEED)]
    found = overdrawn(running, Capacity(4000, 1 << 40, True, reserve=Reserve(4000)))
    assert [holder.spec.id for holder in found.victims] == ["spot"]
    assert overdrawn(running[1:], Capacity(4000, 1 << 40, True, reserve=Reserve(4000))) is None
