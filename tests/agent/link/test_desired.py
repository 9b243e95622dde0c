"""Desired state from the wire: whole or not at all, and the refusal names the field."""

from collections.abc import Callable

import pytest

from agent.errors import RefusedError
from agent.link.desired import decode
from agent.spec import (
    Budget,
    JobKind,
    Limits,
    Prices,
    Quota,
    Reserve,
    Residency,
    RestartMode,
    StorePolicy,
    TradingHours,
)
from storeedge.v1 import desired_pb2

MIB = 1 << 20


def good() -> desired_pb2.Desired:
    return desired_pb2.Desired(
        revision=7,
        tenants=[desired_pb2.Tenant(id="acme", quota=desired_pb2.Quota(jobs=2, cpu_milli=1000, memory_bytes=64 * MIB))],
        jobs=[
            desired_pb2.JobSpec(
                id="hello",
                generation=1,
                tenant="acme",
                kind=desired_pb2.JOB_KIND_BATCH,
                image="host",
                command=["/bin/echo", "hi"],
                env={"A": "b"},
                limits=desired_pb2.JobLimits(cpu_milli=100, memory_bytes=8 * MIB),
            )
        ],
        rules=[desired_pb2.DeviceRule(filter="devices/cam/#", residency=desired_pb2.RESIDENCY_STORE, priority=3)],
    )


def test_defaults_are_filled_in_as_the_proto_says() -> None:
    desired = decode(good())
    job = desired.jobs[0]
    assert job.limits == Limits(100, 8 * MIB, pids=64, log_bytes=MIB, tmp_bytes=8 * MIB)
    assert (job.kind, job.restart.mode, job.stop_grace_seconds) == (JobKind.BATCH, RestartMode.NEVER, 10)
    assert desired.rules[0].residency is Residency.STORE
    assert not desired.rules[0].forward


def test_a_service_is_restarted_always_unless_it_says_otherwise() -> None:
    message = good()
    message.jobs[0].kind = desired_pb2.JOB_KIND_SERVICE
    assert decode(message).jobs[0].restart.mode is RestartMode.ALWAYS


def _job(change: Callable[[desired_pb2.JobSpec], object]) -> desired_pb2.Desired:
    message = good()
    change(message.jobs[0])
    return message


BAD: list[tuple[str, Callable[[desired_pb2.JobSpec], object]]] = [
    (r"id", lambda j: setattr(j, "id", "../etc")),
    (r"generation", lambda j: setattr(j, "generation", 0)),
    (r"tenant", lambda j: setattr(j, "tenant", "A B")),
    (r"kind", lambda j: j.ClearField("kind")),
    (r"image", lambda j: setattr(j, "image", "/etc")),
    (r"command", lambda j: j.ClearField("command")),
    (r"command", lambda j: j.command.extend(["x" * 9000] * 2)),
    (r"command.*NUL", lambda j: j.command.append("a\0b")),
    (r"cpu_milli", lambda j: setattr(j.limits, "cpu_milli", 5)),
    (r"memory_bytes", lambda j: setattr(j.limits, "memory_bytes", 1024)),
    (r"pids", lambda j: setattr(j.limits, "pids", 5000)),
    (r"log_bytes", lambda j: setattr(j.limits, "log_bytes", 1)),
    (r"tmp_bytes", lambda j: setattr(j.limits, "tmp_bytes", 9 * MIB)),
    (r"deadline", lambda j: setattr(j, "deadline_seconds", 3_000_000)),
    (r"stop_grace", lambda j: setattr(j, "stop_grace_seconds", 301)),
    (r"env.*names", lambda j: j.env.update({"1A": "x"})),
    (r"env.*NUL", lambda j: j.env.update({"A": "\0"})),
]


@pytest.mark.parametrize(("field", "change"), BAD)
def test_a_value_out_of_bounds_is_refused_with_its_field(
    field: str, change: Callable[[desired_pb2.JobSpec], object]
) -> None:
    with pytest.raises(RefusedError, match=f"hello|etc.*{field}|{field}") as refusal:
        decode(_job(change))
    assert refusal.value.reason == "BAD_REQUEST"
    assert field.split(".")[0] in str(refusal.value)


def test_no_id_twice() -> None:
    message = good()
    message.jobs.add().CopyFrom(message.jobs[0])
    with pytest.raises(RefusedError, match="twice"):
        decode(message)


def test_a_tenants_quota_budget_and_the_stores_day_arrive() -> None:
    message = good()
    quota = message.tenants[0].quota
    quota.disk_bytes, quota.network_bits_per_second, quota.network_bytes_per_month = 1, 2, 3
    quota.published_ports, quota.mqtt_topics = 4, 5
    message.tenants[0].budget.credit_micro = 6
    message.tenants[0].budget.prices.cpu_core_hour_micro = 7
    message.tenants[0].store = True
    message.store.timezone = "Europe/Berlin"
    message.store.reserve.cpu_milli = 8
    message.store.hours.add(weekdays=[6, 7], from_minute=1320, to_minute=360)
    desired = decode(message)
    assert desired.tenants[0].quota == Quota(2, 1000, 64 * MIB, 1, 2, 3, 4, 5)
    assert desired.tenants[0].budget == Budget(6, Prices(7)) and desired.tenants[0].store
    hours = (TradingHours((6, 7), 1320, 360, Reserve()),)
    assert desired.store == StorePolicy("Europe/Berlin", Reserve(8), hours)


def test_without_a_policy_the_nodes_own_configuration_counts_and_without_a_budget_nothing_is_prepaid() -> None:
    desired = decode(good())
    assert desired.store is None and desired.tenants[0].budget is None


WRONG: list[tuple[str, Callable[[desired_pb2.Desired], object]]] = [
    ("rules: filter: devices/cam/# comes twice", lambda d: d.rules.append(d.rules[0])),
    ("tenants: id: acme comes twice", lambda d: d.tenants.append(d.tenants[0])),
    ("tenant 'acme'.display_name: ", lambda d: setattr(d.tenants[0], "display_name", "x" * 129)),
    ("tenant 'acme'.quota.jobs: 0..256", lambda d: setattr(d.tenants[0].quota, "jobs", 257)),
    ("tenant 'acme'.budget.credit_micro: ", lambda d: setattr(d.tenants[0].budget, "credit_micro", 1 << 63)),
    ("store.timezone: ", lambda d: setattr(d.store, "timezone", "x" * 65)),
    ("store.hours: at most 32", lambda d: [d.store.hours.add() for _ in range(33)]),
    ("store.hours[0].weekdays: 1 (Monday)", lambda d: d.store.hours.add(weekdays=[8], to_minute=1)),
    ("store.hours[0].weekdays: 1 comes twice", lambda d: d.store.hours.add(weekdays=[1, 1], to_minute=1)),
    ("store.hours[0].from_minute: 0..1439", lambda d: d.store.hours.add(from_minute=1440, to_minute=1)),
    ("store.hours[0].to_minute: 1..1440, not 0", lambda d: d.store.hours.add()),
    ("store.reserve.cpu_milli: ", lambda d: setattr(d.store.reserve, "cpu_milli", 1_024_001)),
]


@pytest.mark.parametrize(("said", "change"), WRONG)
def test_what_is_wrong_beside_the_jobs_is_named_too(said: str, change: Callable[[desired_pb2.Desired], object]) -> None:
    message = good()
    change(message)
    with pytest.raises(RefusedError) as refusal:
        decode(message)
    assert str(refusal.value).startswith(said)


def test_a_port_of_the_node_belongs_to_one_job() -> None:
    message = good()
    message.jobs.add().CopyFrom(message.jobs[0])
    message.jobs[1].id = "other"
    for job in message.jobs:
        job.network.publish.add(port=80)
    with pytest.raises(RefusedError, match=r"job 'other'\.network\.publish: port 80/tcp is published by job 'hello'"):
        decode(message)
    message.jobs[1].network.publish[0].protocol = "udp"
    assert len(decode(message).jobs) == 2
