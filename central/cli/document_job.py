"""[[job]] of the file that `edgectl apply` takes: its keys, and the JobSpec made of them. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from central.cli.checks import boolean, choice, command, count, duration, environment, size, text
from central.cli.tables import Field, array, table
from central.cli.words import place, rate, throughput
from storeedge.v1.desired_pb2 import (
    JOB_KIND_BATCH,
    JOB_KIND_SERVICE,
    PRIORITY_GUARANTEED,
    PRIORITY_SPOT,
    PRIORITY_STORE,
    RESTART_MODE_ALWAYS,
    RESTART_MODE_NEVER,
    RESTART_MODE_ON_FAILURE,
    Health,
    JobLimits,
    JobSpec,
    MqttGrant,
    Network,
    Publish,
    RestartPolicy,
    Update,
)

_KIB, _MIB, _PIB = 1 << 10, 1 << 20, 1 << 50
_SECRET_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")
_SECRETS = 16
_MADE = ("mqtt_username", "mqtt_password")  # by the node, for a job with mqtt
_CHANNEL = re.compile(r"(([^+#/\0]*|\+)/)*([^+#/\0]*|\+|#)")  # a topic filter

TENANT_ID = text(r"[a-z0-9][a-z0-9-]{0,31}", "1..32 characters of [a-z0-9-]")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a secret comes from on the operator's machine: one of the two is set."""

    file: str = ""  # relative to the document
    env: str = ""


def _secret_sources(value: object) -> dict[str, Source]:
    pairs = cast("dict[str, object]", value) if isinstance(value, dict) else None
    if pairs is None or len(pairs) > _SECRETS:
        raise ValueError(f'a table of at most {_SECRETS}, e.g. {{ DB_PASSWORD = {{ file = "db.pw" }} }}')
    return {name: _secret_source(name, source) for name, source in pairs.items()}


def _secret_source(name: str, value: object) -> Source:
    if not _SECRET_NAME.fullmatch(name):
        raise ValueError(f"names of 1..64 of [A-Za-z0-9_.-], no dot in front, not {name!r}")
    pairs = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    match pairs:
        case {"file": str(file), **rest} if file and not rest:
            return Source(file=file)
        case {"env": str(env), **rest} if env and not rest:
            return Source(env=env)
        case _:  # never repeated: it may be the secret itself
            raise ValueError(f'{name}: {{ file = "PATH" }} or {{ env = "NAME" }}; a secret itself never stands here')


def _published(value: object) -> dict[str, Any]:
    port = count(1, 65_535)
    fields = {
        "port": Field(port, required=True),
        "job_port": Field(port),
        "protocol": Field(text("tcp|udp", "tcp or udp")),
        "service": Field(text("[a-z0-9-]{1,15}", "1..15 characters of [a-z0-9-]")),
        "txt": Field(_txt),
    }
    if isinstance(value, int):
        return {"port": port(value)}
    return cast("dict[str, Any]", table(fields)(value))


def _txt(value: object) -> dict[str, str]:
    pairs = cast("dict[str, object]", value) if isinstance(value, dict) else None
    if pairs is None or len(pairs) > 8 or not all(isinstance(v, str) for v in pairs.values()):
        raise ValueError('a table of at most 8 strings, e.g. { path = "/offload" }')
    found = cast("dict[str, str]", pairs)
    if sum(len((name + content).encode()) for name, content in found.items()) > 400:
        raise ValueError("at most 400 bytes together")
    return found


def _channel(value: object) -> str:
    if not isinstance(value, str) or not _CHANNEL.fullmatch(value) or not 1 <= len(value.encode()) <= 256:
        raise ValueError(f"a topic filter below devices/ID/, at most 256 bytes, e.g. temperature or #, not {value!r}")
    if value.split("/")[0] == "cmd":
        raise ValueError("not below cmd: commands, and their answers, come with commands")
    return value


def _granted(value: object) -> MqttGrant:
    fields = cast("dict[str, Any]", table(_MQTT)(value))
    if ("device" in fields) == ("zone" in fields or "class" in fields):
        raise ValueError("either device, or zone or class or both")
    if not fields.get("channel") and not fields.get("commands"):
        raise ValueError("channel or commands")
    return MqttGrant(
        device=fields.get("device", ""),
        zone=fields.get("zone", ""),
        device_class=fields.get("class", ""),
        channel=fields.get("channel", ""),
        commands=fields.get("commands", []),
    )


_IMAGE = text(
    r"host|([A-Za-z0-9\[][A-Za-z0-9._:/\[\]-]*@)?sha256:[0-9a-f]{64}",
    '"host", "REGISTRY/REPOSITORY@sha256:HEX" or "sha256:HEX" (a tag alone may change under you)',
)
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
_NETWORK = {
    "egress": Field(array(place, 64, '["203.0.113.0/24:443", "api.example.com:443", "udp://192.0.2.7:123"]')),
    "publish": Field(array(_published, 16, '[8443, { port = 8080, job_port = 80, service = "offload" }]')),
    "peers": Field(boolean),
    "rate": Field(rate),
    "month": Field(size(0, _PIB)),
}
_HEALTH = {
    "command": Field(command),
    "tcp": Field(count(1, 65_535)),
    "interval": Field(duration(1, 3600)),
    "timeout": Field(duration(1, 60)),
    "failures": Field(count(1, 1000)),
    "start": Field(duration(1, 86_400)),
}
_LABEL = text("[A-Za-z0-9_.-]{1,64}", "1..64 characters of [A-Za-z0-9_.-]")
_COMMAND = text(r"\*|[A-Za-z0-9_-]{1,64}", 'a name of 1..64 characters of [A-Za-z0-9_-], or "*"')
_MQTT = {
    "device": Field(_LABEL),
    "zone": Field(_LABEL),
    "class": Field(_LABEL),
    "channel": Field(_channel),
    "commands": Field(array(_COMMAND, 16, '["open", "close"]')),
}
JOB = {
    "id": Field(text(r"[a-z0-9][a-z0-9-]{0,47}", "1..48 characters of [a-z0-9-]"), required=True),
    "generation": Field(count(1, (1 << 63) - 1)),
    "tenant": Field(TENANT_ID, required=True),
    "kind": Field(choice({"batch": JOB_KIND_BATCH, "service": JOB_KIND_SERVICE}), required=True),
    "image": Field(_IMAGE),
    "command": Field(command),
    "env": Field(environment),
    "cpu_milli": Field(count(10, 1_024_000), required=True),
    "memory": Field(size(4 * _MIB, _PIB), required=True),
    "pids": Field(count(4, 4096)),
    "log": Field(size(4 * _KIB, 64 * _MIB)),
    "tmp": Field(size(64 * _KIB, _PIB)),
    "open_files": Field(count(16, 65_536)),
    "disk": Field(size(4 * _MIB, 1 << 40)),
    "io": Field(throughput),
    "deadline": Field(duration(1, 2_592_000)),
    "stop_grace": Field(duration(1, 300)),
    "stop_signal": Field(text("TERM|INT|QUIT|HUP|USR1|USR2", "one of TERM, INT, QUIT, HUP, USR1, USR2")),
    "restart": Field(table(_RESTART)),
    "priority": Field(choice({"spot": PRIORITY_SPOT, "guaranteed": PRIORITY_GUARANTEED, "store": PRIORITY_STORE})),
    "network": Field(table(_NETWORK)),
    "health": Field(table(_HEALTH)),
    "update": Field(table({"healthy": Field(duration(1, 86_400), required=True)})),
    "warm": Field(count(0, 8)),
    "secrets": Field(_secret_sources),
    "mqtt": Field(array(_granted, 32, '[{ zone = "shelf-7", channel = "temperature" }]')),
}


def job(values: Mapping[str, Any]) -> JobSpec:
    """Raises ValueError for what single keys can't say."""
    restart, network, health = values.get("restart"), values.get("network"), values.get("health")
    at = f"[[job]] ({values['id']})"
    if values.get("image", "host") == "host" and "command" not in values:
        raise ValueError(f"{at}: command: is missing; only an OCI image can have one of its own")
    if values["kind"] != JOB_KIND_SERVICE and ("health" in values or "update" in values):
        raise ValueError(f'{at}: health and update are for kind = "service"')
    if health is not None and ("command" in health) == ("tcp" in health):
        raise ValueError(f"{at}: health: exactly one of command and tcp")
    if "mqtt" in values and (taken := sorted({*_MADE} & {*values.get("secrets", {})})):
        raise ValueError(f"{at}: secrets: {taken[0]}: the node makes it for a job with mqtt")
    return JobSpec(
        id=values["id"],
        generation=values.get("generation", 1),
        tenant=values["tenant"],
        kind=values["kind"],
        image=values.get("image", "host"),
        command=values.get("command", []),
        env=values.get("env", {}),
        limits=_limits(values),
        restart=_restart(restart) if restart else None,
        deadline_seconds=values.get("deadline", 0),
        stop_grace_seconds=values.get("stop_grace", 0),
        priority=values.get("priority", PRIORITY_SPOT),
        network=_network(network) if network is not None else None,
        health=_health(health) if health is not None else None,
        update=Update(healthy_seconds=values["update"]["healthy"]) if "update" in values else None,
        stop_signal=values.get("stop_signal", ""),
        warm=values.get("warm", 0),
        mqtt=values.get("mqtt", []),
    )


def _limits(values: Mapping[str, Any]) -> JobLimits:
    return JobLimits(
        cpu_milli=values["cpu_milli"],
        memory_bytes=values["memory"],
        pids=values.get("pids", 0),
        log_bytes=values.get("log", 0),
        tmp_bytes=values.get("tmp", 0),
        open_files=values.get("open_files", 0),
        disk_bytes=values.get("disk", 0),
        io_bytes_per_second=values.get("io", 0),
    )


def _restart(values: Mapping[str, Any]) -> RestartPolicy:
    return RestartPolicy(
        mode=values["mode"],
        max_attempts=values.get("max_attempts", 0),
        window_seconds=values.get("window", 0),
        backoff_seconds=values.get("backoff", 0),
        backoff_max_seconds=values.get("backoff_max", 0),
    )


def _network(values: Mapping[str, Any]) -> Network:
    return Network(
        egress=values.get("egress", []),
        publish=[Publish(**each) for each in values.get("publish", [])],
        peers=values.get("peers", False),
        bits_per_second=values.get("rate", 0),
        bytes_per_month=values.get("month", 0),
    )


def _health(values: Mapping[str, Any]) -> Health:
    return Health(
        command=values.get("command", []),
        tcp_port=values.get("tcp", 0),
        interval_seconds=values.get("interval", 0),
        timeout_seconds=values.get("timeout", 0),
        failures=values.get("failures", 0),
        start_seconds=values.get("start", 0),
    )
