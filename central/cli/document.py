"""The file that `edgectl apply` takes (docs/examples/store.toml): Desired, or one line that says what is wrong."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from central.cli.checks import Check, boolean, choice, command, count, display_name, duration, environment, size, text
from central.names import BadNameError, parse_node
from storeedge.v1.desired_pb2 import (
    JOB_KIND_BATCH,
    JOB_KIND_SERVICE,
    RESIDENCY_ANY,
    RESIDENCY_STORE,
    RESTART_MODE_ALWAYS,
    RESTART_MODE_NEVER,
    RESTART_MODE_ON_FAILURE,
    Desired,
    DeviceRule,
    JobLimits,
    JobSpec,
    Quota,
    RestartPolicy,
    Tenant,
)

_KIB, _MIB = 1 << 10, 1 << 20


class DocumentError(Exception):
    """The file can't be applied; the text names file, table, key and what is allowed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    nodes: list[str]  # store/node
    desired: Desired


@dataclass(frozen=True, slots=True)
class Field:
    check: Check
    required: bool = False


def _node_names(value: object) -> list[str]:
    names = cast("list[object]", value) if isinstance(value, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError('a list of nodes, e.g. ["berlin-1/edge-1"]')
    try:
        return [str(parse_node(name)) for name in cast("list[str]", names)]
    except BadNameError as error:
        raise ValueError(str(error)) from error


def _table(fields: Mapping[str, Field]) -> Check:
    def check(value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"a table with {', '.join(fields)}")  # noqa: TRY004 - every check says no in one way
        return _members(cast("dict[str, object]", value), fields)

    return check


# --- tables --------------------------------------------------------------------------------------

_TENANT_ID = text(r"[a-z0-9][a-z0-9-]{0,31}", "1..32 characters of [a-z0-9-]")
_QUOTA = {
    "jobs": Field(count(0, 256), required=True),
    "cpu_milli": Field(count(0, 1_024_000), required=True),
    "memory": Field(size(0, 1 << 50), required=True),
}
_TENANT = {
    "id": Field(_TENANT_ID, required=True),
    "display_name": Field(display_name),
    "quota": Field(_table(_QUOTA)),
}
_RESTART = {
    "mode": Field(
        choice({"never": RESTART_MODE_NEVER, "on-failure": RESTART_MODE_ON_FAILURE, "always": RESTART_MODE_ALWAYS}),
        required=True,
    ),
    "max_attempts": Field(count(0, 1_000_000)),
    "window": Field(duration(1, 2_592_000)),
    "backoff": Field(duration(1, 86_400)),
    "backoff_max": Field(duration(1, 86_400)),
}
_JOB = {
    "id": Field(text(r"[a-z0-9][a-z0-9-]{0,47}", "1..48 characters of [a-z0-9-]"), required=True),
    "generation": Field(count(1, (1 << 63) - 1)),
    "tenant": Field(_TENANT_ID, required=True),
    "kind": Field(choice({"batch": JOB_KIND_BATCH, "service": JOB_KIND_SERVICE}), required=True),
    "image": Field(text(r"host", '"host"')),
    "command": Field(command, required=True),
    "env": Field(environment),
    "cpu_milli": Field(count(10, 1_024_000), required=True),
    "memory": Field(size(4 * _MIB, 1 << 50), required=True),
    "pids": Field(count(4, 4096)),
    "log": Field(size(4 * _KIB, 64 * _MIB)),
    "tmp": Field(size(64 * _KIB, 1 << 50)),
    "deadline": Field(duration(1, 2_592_000)),
    "stop_grace": Field(duration(1, 300)),
    "restart": Field(_table(_RESTART)),
}
_RULE = {
    "filter": Field(text(r"devices(/[^\0]*)?", 'an MQTT filter that begins with "devices/"'), required=True),
    "forward": Field(boolean),
    "residency": Field(choice({"any": RESIDENCY_ANY, "store": RESIDENCY_STORE})),
    "priority": Field(count(0, 9)),
}
_TABLES = {"tenant": (_TENANT, 64), "job": (_JOB, 256), "rule": (_RULE, 256)}


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
    unknown = set(raw) - set(_TABLES) - {"nodes"}
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r}; allowed are nodes, [[tenant]], [[job]], [[rule]]")
    nodes: list[str] = _named("nodes", _node_names, raw["nodes"]) if "nodes" in raw else []
    desired = Desired(
        tenants=[_tenant(values) for values in _rows(raw, "tenant")],
        jobs=[_job(values) for values in _rows(raw, "job")],
        rules=[_rule(values) for values in _rows(raw, "rule")],
    )
    return Wanted(nodes, desired)


def _rows(raw: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    fields, most = _TABLES[name]
    rows = raw.get(name, [])
    if not isinstance(rows, list) or len(cast("list[object]", rows)) > most:
        raise ValueError(f"[[{name}]]: written in double brackets, at most {most} of them")
    found: list[dict[str, Any]] = []
    for number, row in enumerate(cast("list[object]", rows), 1):
        found.append(_named(f"[[{name}]] {number}{_label(row)}", _table(fields), row))
    return found


def _label(row: Any) -> str:
    """Which one it is, for people."""
    members = cast("dict[str, object]", row) if isinstance(row, dict) else {}
    label = members.get("id", members.get("filter"))
    return f" ({label})" if isinstance(label, str) else ""


def _named(name: str, check: Check, value: object) -> Any:
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _members(values: Mapping[str, object], fields: Mapping[str, Field]) -> dict[str, Any]:
    unknown = set(values) - set(fields)
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r}; allowed are {', '.join(fields)}")
    missing = [name for name, field in fields.items() if field.required and name not in values]
    if missing:
        raise ValueError(f"{missing[0]}: is missing")
    return {name: _named(name, fields[name].check, value) for name, value in values.items()}


def _tenant(values: Mapping[str, Any]) -> Tenant:
    quota = values.get("quota")
    return Tenant(
        id=values["id"],
        display_name=values.get("display_name", ""),
        quota=Quota(jobs=quota["jobs"], cpu_milli=quota["cpu_milli"], memory_bytes=quota["memory"]) if quota else None,
    )


def _job(values: Mapping[str, Any]) -> JobSpec:
    restart = values.get("restart")
    return JobSpec(
        id=values["id"],
        generation=values.get("generation", 1),
        tenant=values["tenant"],
        kind=values["kind"],
        image=values.get("image", "host"),
        command=values["command"],
        env=values.get("env", {}),
        limits=JobLimits(
            cpu_milli=values["cpu_milli"],
            memory_bytes=values["memory"],
            pids=values.get("pids", 0),
            log_bytes=values.get("log", 0),
            tmp_bytes=values.get("tmp", 0),
        ),
        restart=_restart(restart) if restart else None,
        deadline_seconds=values.get("deadline", 0),
        stop_grace_seconds=values.get("stop_grace", 0),
    )


def _restart(values: Mapping[str, Any]) -> RestartPolicy:
    return RestartPolicy(
        mode=values["mode"],
        max_attempts=values.get("max_attempts", 0),
        window_seconds=values.get("window", 0),
        backoff_seconds=values.get("backoff", 0),
        backoff_max_seconds=values.get("backoff_max", 0),
    )


def _rule(values: Mapping[str, Any]) -> DeviceRule:
    return DeviceRule(
        filter=values["filter"],
        forward=values.get("forward", True),
        residency=values.get("residency", RESIDENCY_ANY),
        priority=values.get("priority", 5),
    )
