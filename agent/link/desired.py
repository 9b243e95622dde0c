"""Desired state, from the wire's message to the agent's nouns. Pure: the bounds of proto/storeedge/v1/desired.proto."""

from collections.abc import Sequence

from agent.link.desired_job import TENANT, job
from agent.link.desired_rule import rule
from agent.link.field import bounded, check, unique
from agent.spec import (
    Budget,
    Desired,
    JobSpec,
    Prices,
    Quota,
    Reserve,
    StorePolicy,
    Tenant,
    TradingHours,
)
from storeedge.v1 import desired_pb2

MAX_DESIRED_BYTES = 192 * 1024
_PIB = 1 << 50
_SIGNED = (1 << 63) - 1  # what SQLite can hold


def decode(message: desired_pb2.Desired) -> Desired:
    """Raises RefusedError(BAD_REQUEST) that names the field and what it takes; then nothing of it may be applied."""
    check(message.ByteSize() <= MAX_DESIRED_BYTES, "desired", f"at most {MAX_DESIRED_BYTES} bytes")
    check(len(message.tenants) <= 64, "tenants", "at most 64")
    check(len(message.jobs) <= 256, "jobs", "at most 256")
    check(len(message.rules) <= 256, "rules", "at most 256")
    tenants = tuple(_tenant(each) for each in message.tenants)
    jobs = tuple(job(each) for each in message.jobs)
    rules = tuple(rule(each) for each in message.rules)
    unique((tenant.id for tenant in tenants), "tenants: id")
    unique((each.id for each in jobs), "jobs: id")
    unique((each.filter for each in rules), "rules: filter")  # the second would never be looked at
    _check_ports(jobs)
    store = _store(message.store) if message.HasField("store") else None
    return Desired(message.revision, tenants, jobs, rules, store)


def _check_ports(jobs: Sequence[JobSpec]) -> None:
    """A port of the node belongs to one job."""
    holders: dict[tuple[int, str], str] = {}
    for spec in jobs:
        for publish in spec.network.publish if spec.network else ():
            holder = holders.setdefault((publish.port, publish.protocol), spec.id)
            port = f"{publish.port}/{publish.protocol}"
            check(holder == spec.id, f"job '{spec.id}'.network.publish", f"port {port} is published by job '{holder}'")


def _tenant(message: desired_pb2.Tenant) -> Tenant:
    at = f"tenant {message.id!r}"
    check(bool(TENANT.fullmatch(message.id)), f"{at}.id", TENANT.pattern)
    check(len(message.display_name.encode()) <= 128, f"{at}.display_name", "at most 128 bytes")
    budget = _budget(at, message.budget) if message.HasField("budget") else None
    return Tenant(message.id, message.display_name, _quota(f"{at}.quota", message.quota), budget, message.store)


def _quota(at: str, message: desired_pb2.Quota) -> Quota:
    return Quota(
        jobs=bounded(message.jobs, 0, 256, f"{at}.jobs"),
        cpu_milli=bounded(message.cpu_milli, 0, 1_024_000, f"{at}.cpu_milli"),
        memory_bytes=bounded(message.memory_bytes, 0, _PIB, f"{at}.memory_bytes"),
        disk_bytes=bounded(message.disk_bytes, 0, _PIB, f"{at}.disk_bytes"),
        network_bits_per_second=bounded(message.network_bits_per_second, 0, _SIGNED, f"{at}.network_bits_per_second"),
        network_bytes_per_month=bounded(message.network_bytes_per_month, 0, _SIGNED, f"{at}.network_bytes_per_month"),
        published_ports=bounded(message.published_ports, 0, 65_535, f"{at}.published_ports"),
        mqtt_topics=bounded(message.mqtt_topics, 0, 8192, f"{at}.mqtt_topics"),
    )


def _budget(at: str, message: desired_pb2.Budget) -> Budget:
    prices = Prices(
        cpu_core_hour_micro=message.prices.cpu_core_hour_micro,
        memory_gib_hour_micro=message.prices.memory_gib_hour_micro,
        disk_gib_hour_micro=message.prices.disk_gib_hour_micro,
        network_gib_micro=message.prices.network_gib_micro,
    )
    for name in Prices.__dataclass_fields__:
        bounded(getattr(prices, name), 0, _SIGNED, f"{at}.budget.prices.{name}")
    return Budget(bounded(message.credit_micro, 0, _SIGNED, f"{at}.budget.credit_micro"), prices)


def _store(message: desired_pb2.StorePolicy) -> StorePolicy:
    """Whether this box knows the time zone is for jobs/trading.py to say."""
    check(len(message.timezone.encode()) <= 64, "store.timezone", "at most 64 bytes")
    check(len(message.hours) <= 32, "store.hours", "at most 32")
    return StorePolicy(
        message.timezone,
        _reserve("store.reserve", message.reserve),
        tuple(_hours(f"store.hours[{index}]", each) for index, each in enumerate(message.hours)),
    )


def _hours(at: str, message: desired_pb2.TradingHours) -> TradingHours:
    check(all(1 <= day <= 7 for day in message.weekdays), f"{at}.weekdays", "1 (Monday)..7 (Sunday)")
    unique(message.weekdays, f"{at}.weekdays")
    return TradingHours(
        weekdays=tuple(message.weekdays),
        from_minute=bounded(message.from_minute, 0, 1439, f"{at}.from_minute"),
        to_minute=bounded(message.to_minute, 1, 1440, f"{at}.to_minute"),
        reserve=_reserve(f"{at}.reserve", message.reserve),
    )


def _reserve(at: str, message: desired_pb2.Reserve) -> Reserve:
    return Reserve(
        cpu_milli=bounded(message.cpu_milli, 0, 1_024_000, f"{at}.cpu_milli"),
        memory_bytes=bounded(message.memory_bytes, 0, _PIB, f"{at}.memory_bytes"),
        disk_bytes=bounded(message.disk_bytes, 0, _PIB, f"{at}.disk_bytes"),
    )
