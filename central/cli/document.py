"""The file that `edgectl apply` takes (docs/examples/store.toml): Desired, or one line that says what is wrong."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from central.cli import document_job, document_rule
from central.cli.checks import boolean, count, display_name, size
from central.cli.document_job import TENANT_ID, Source
from central.cli.tables import Field, array, named, table, unknown
from central.cli.words import hours, money, quota_rate, timezone
from central.names import BadNameError, parse_node
from storeedge.v1.desired_pb2 import (
    Budget,
    Desired,
    Prices,
    Quota,
    Reserve,
    StorePolicy,
    Tenant,
)

_PIB = 1 << 50


class DocumentError(Exception):
    """The file can't be applied; the text names file, table, key and what is allowed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`desired` is without secrets: they are sealed for each node, from where `secrets` (job -> name) says."""

    nodes: list[str]  # store/node
    desired: Desired
    secrets: Mapping[str, Mapping[str, Source]] = field(default_factory=dict[str, Mapping[str, Source]])


def _node_names(value: object) -> list[str]:
    names = cast("list[object]", value) if isinstance(value, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError('a list of nodes, e.g. ["berlin-1/edge-1"]')
    try:
        return [str(parse_node(name)) for name in cast("list[str]", names)]
    except BadNameError as error:
        raise ValueError(str(error)) from error


# --- tables --------------------------------------------------------------------------------------

_QUOTA = {
    "jobs": Field(count(0, 256), required=True),
    "cpu_milli": Field(count(0, 1_024_000), required=True),
    "memory": Field(size(0, _PIB), required=True),
    "disk": Field(size(0, _PIB)),
    "network_rate": Field(quota_rate),
    "network_month": Field(size(0, _PIB)),
    "published_ports": Field(count(0, 65_535)),
    "mqtt_topics": Field(count(0, 8192)),
}
_BUDGET = {
    "credit": Field(money, required=True),
    "cpu_core_hour": Field(money),
    "memory_gib_hour": Field(money),
    "disk_gib_hour": Field(money),
    "network_gib": Field(money),
}
_TENANT = {
    "id": Field(TENANT_ID, required=True),
    "display_name": Field(display_name),
    "quota": Field(table(_QUOTA)),
    "budget": Field(table(_BUDGET)),
    "store": Field(boolean),
}
_RESERVE = {
    "cpu_milli": Field(count(0, 1_024_000)),
    "memory": Field(size(0, _PIB)),
    "disk": Field(size(0, _PIB)),
}
_HOURS = {"when": Field(hours, required=True), "reserve": Field(table(_RESERVE), required=True)}
_STORE = {
    "timezone": Field(timezone),
    "reserve": Field(table(_RESERVE), required=True),
    "hours": Field(
        array(table(_HOURS), 32, '[{ when = "mon-sat 08:00-20:00", reserve = { cpu_milli = 1000, memory = "1GiB" } }]')
    ),
}
_TABLES = {"tenant": (_TENANT, 64), "job": (document_job.JOB, 256), "rule": (document_rule.RULE, 256)}
_TOP = ["nodes", "store", "tenant", "job", "rule"]


def read(path: Path) -> Wanted:
    """Raises DocumentError."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DocumentError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DocumentError(f"{path}: not TOML: {error}") from error
    except ValueError as error:
        raise DocumentError(f"{path}: {error}") from error


def parse(source: str) -> Wanted:
    """Raises ValueError, without the file's name."""
    raw: dict[str, Any] = tomllib.loads(source)
    strange = set(raw) - set(_TOP)
    if strange:
        raise unknown(min(strange), _TOP)
    nodes: list[str] = named("nodes", _node_names, raw["nodes"]) if "nodes" in raw else []
    jobs = _rows(raw, "job")
    desired = Desired(
        tenants=[_tenant(values) for values in _rows(raw, "tenant")],
        jobs=[document_job.job(values) for values in jobs],
        rules=[document_rule.rule(values) for values in _rows(raw, "rule")],
        store=_store(named("[store]", table(_STORE), raw["store"])) if "store" in raw else None,
    )
    return Wanted(nodes, desired, {values["id"]: values["secrets"] for values in jobs if values.get("secrets")})


def _rows(raw: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    fields, most = _TABLES[name]
    rows = raw.get(name, [])
    if not isinstance(rows, list) or len(cast("list[object]", rows)) > most:
        raise ValueError(f"[[{name}]]: written in double brackets, at most {most} of them")
    found: list[dict[str, Any]] = []
    for number, row in enumerate(cast("list[object]", rows), 1):
        found.append(named(f"[[{name}]] {number}{_label(row)}", table(fields), row))
    return found


def _label(row: Any) -> str:
    """Which one it is, for people."""
    members = cast("dict[str, object]", row) if isinstance(row, dict) else {}
    label = members.get("id", members.get("filter"))
    return f" ({label})" if isinstance(label, str) else ""


# --- messages ------------------------------------------------------------------------------------


def _tenant(values: Mapping[str, Any]) -> Tenant:
    quota, budget = values.get("quota"), values.get("budget")
    return Tenant(
        id=values["id"],
        display_name=values.get("display_name", ""),
        quota=_quota(quota) if quota else None,
        budget=_budget(budget) if budget else None,
        store=values.get("store", False),
    )


def _quota(values: Mapping[str, Any]) -> Quota:
    return Quota(
        jobs=values["jobs"],
        cpu_milli=values["cpu_milli"],
        memory_bytes=values["memory"],
        disk_bytes=values.get("disk", 0),
        network_bits_per_second=values.get("network_rate", 0),
        network_bytes_per_month=values.get("network_month", 0),
        published_ports=values.get("published_ports", 0),
        mqtt_topics=values.get("mqtt_topics", 0),
    )


def _budget(values: Mapping[str, Any]) -> Budget:
    prices = Prices(
        cpu_core_hour_micro=values.get("cpu_core_hour", 0),
        memory_gib_hour_micro=values.get("memory_gib_hour", 0),
        disk_gib_hour_micro=values.get("disk_gib_hour", 0),
        network_gib_micro=values.get("network_gib", 0),
    )
    return Budget(credit_micro=values["credit"], prices=prices)


def _store(values: Mapping[str, Any]) -> StorePolicy:
    policy = StorePolicy(timezone=values.get("timezone", ""), reserve=_reserve(values["reserve"]))
    for each in values.get("hours", []):
        trading = policy.hours.add()
        trading.CopyFrom(each["when"])
        trading.reserve.CopyFrom(_reserve(each["reserve"]))
    return policy


def _reserve(values: Mapping[str, Any]) -> Reserve:
    return Reserve(
        cpu_milli=values.get("cpu_milli", 0),
        memory_bytes=values.get("memory", 0),
        disk_bytes=values.get("disk", 0),
    )
