"""Requests from their JSON: every field bounded, named when it is wrong. Pure, standard library only."""

import binascii
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast, get_args

from agent.launcher.fields import boolean, number, only, plain, refuse, table, text, words
from agent.launcher.protocol import MIB, CheckRequest, JobRequest, Signal
from agent.launcher.reach import parse_network

_RUN = re.compile(r"[a-z0-9][a-z0-9.-]{0,79}(?<!\.tmp)")  # conmon begins the next log of LOG as LOG.tmp
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_JOB = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
_IMAGE = re.compile(r"sha256:[0-9a-f]{64}")
_HOST_OR_IMAGE = re.compile(rf"host|{_IMAGE.pattern}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SECRET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SECRET_BYTES = 65536
_SECRETS = 18  # of a job's own spec 16
_KIB = 1024
_SIGNALS: tuple[str, ...] = get_args(Signal)
_JOB_FIELDS = ("op", *(field.name for field in fields(JobRequest)))


def run_name(raw: Mapping[str, Any]) -> str:
    return text(raw, "run", _RUN)


def image_name(raw: Mapping[str, Any]) -> str:
    return text(raw, "image", _IMAGE)


def owner(raw: Mapping[str, Any]) -> tuple[str, str]:
    """(tenant, job) of a disk."""
    return text(raw, "tenant", _TENANT), text(raw, "job", _JOB)


def signal_name(raw: Mapping[str, Any]) -> Signal:
    wanted = raw.get("signal")
    if not isinstance(wanted, str) or wanted not in _SIGNALS:
        raise refuse("signal", f"one of {', '.join(_SIGNALS)}")
    return cast("Signal", wanted)


def _env(value: object) -> dict[str, str]:
    raw = table(value, "env")
    if len(raw) > 64:
        raise refuse("env", "an object of at most 64 strings")
    env: dict[str, str] = {}
    for name, content in raw.items():
        if not _ENV_NAME.fullmatch(name):
            raise refuse("env", f"names matching {_ENV_NAME.pattern}")
        if not isinstance(content, str) or not plain(content):
            raise refuse("env", "string values of Unicode without NUL")
        env[name] = content
    if sum(len((k + v).encode()) for k, v in env.items()) > 16384:
        raise refuse("env", "at most 16384 bytes together")
    return env


def secret_bytes(content: str) -> bytes:
    """Raises ValueError for what isn't base64."""
    return binascii.a2b_base64(content, strict_mode=True)


def _secrets(value: object) -> dict[str, str]:
    raw = table(value, "secrets")
    if len(raw) > _SECRETS:
        raise refuse("secrets", f"an object of at most {_SECRETS} strings in base64")
    total = 0
    for name, content in raw.items():
        if not _SECRET_NAME.fullmatch(name):
            raise refuse("secrets", f"names matching {_SECRET_NAME.pattern}")
        try:
            total += len(secret_bytes(content))
        except (ValueError, TypeError):
            raise refuse("secrets", "strings in base64") from None  # the cause would show the content
    if total > _SECRET_BYTES:
        raise refuse("secrets", f"at most {_SECRET_BYTES} bytes together")
    return dict(raw)


def _check(value: object) -> CheckRequest:
    raw = table(value, "check")
    only(raw, ("command", "tcp_port", "timeout_seconds"), "check")
    command = words(raw.get("command", []), "check", 4096)
    port = number(raw, "tcp_port", 1, 65535, default=0)
    if bool(command) == bool(port):
        raise refuse("check", "either a command or a tcp_port")
    return CheckRequest(command, port, number({"timeout_seconds": 5} | dict(raw), "timeout_seconds", 1, 60))


def parse_job(raw: Mapping[str, Any]) -> JobRequest:
    """A request from its JSON object. Raises LauncherError(bad-request) that names the field and what it takes."""
    only(raw, _JOB_FIELDS)
    tenant, job = owner(raw)
    image = text(raw, "image", _HOST_OR_IMAGE)
    command = words(raw.get("command"), "command", 16384)
    if image == "host" and not command:
        raise refuse("command", "a list of 1..64 strings")
    memory_bytes = number(raw, "memory_bytes", 4 * MIB, 1 << 50)
    network, check = raw.get("network"), raw.get("check")
    return JobRequest(
        run=run_name(raw),
        tenant=tenant,
        job=job,
        image=image,
        command=command,
        cpu_milli=number(raw, "cpu_milli", 10, 1_024_000),
        memory_bytes=memory_bytes,
        pids=number(raw, "pids", 4, 4096),
        log_bytes=number(raw, "log_bytes", 4096, 64 * MIB),
        tmp_bytes=number(raw, "tmp_bytes", 65536, memory_bytes),
        open_files=number({"open_files": 1024} | dict(raw), "open_files", 16, 65536),
        disk_bytes=number(raw, "disk_bytes", 4 * MIB, 1 << 40, default=0),
        io_bytes_per_second=number(raw, "io_bytes_per_second", 64 * _KIB, 1 << 40, default=0),
        env=_env(raw.get("env", {})),
        network=None if network is None else parse_network(network),
        check=None if check is None else _check(check),
        mqtt=boolean(raw, "mqtt"),
        secrets=_secrets(raw.get("secrets", {})),
    )
