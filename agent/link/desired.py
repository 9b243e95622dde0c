"""Desired state, from the wire's message to the agent's nouns. Pure: the bounds of proto/storeedge/v1/desired.proto."""

import re

from agent.errors import RefusedError
from agent.spec import (
    Desired,
    DeviceRule,
    JobKind,
    JobSpec,
    Limits,
    Quota,
    Residency,
    RestartMode,
    RestartPolicy,
    Tenant,
)
from storeedge.v1 import desired_pb2

MAX_DESIRED_BYTES = 192 * 1024
_MIB = 1 << 20

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_JOB = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_KINDS = {desired_pb2.JOB_KIND_BATCH: JobKind.BATCH, desired_pb2.JOB_KIND_SERVICE: JobKind.SERVICE}
_MODES = {
    desired_pb2.RESTART_MODE_NEVER: RestartMode.NEVER,
    desired_pb2.RESTART_MODE_ON_FAILURE: RestartMode.ON_FAILURE,
    desired_pb2.RESTART_MODE_ALWAYS: RestartMode.ALWAYS,
}


def _check(ok: bool, field: str, allowed: str) -> None:
    if not ok:
        raise RefusedError("BAD_REQUEST", f"{field}: {allowed}")


def decode(message: desired_pb2.Desired) -> Desired:
    """Raises RefusedError(BAD_REQUEST) that names the field and what it takes; then nothing of it may be applied."""
    _check(message.ByteSize() <= MAX_DESIRED_BYTES, "desired", f"at most {MAX_DESIRED_BYTES} bytes")
    _check(len(message.tenants) <= 64, "tenants", "at most 64")
    _check(len(message.jobs) <= 256, "jobs", "at most 256")
    _check(len(message.rules) <= 256, "rules", "at most 256")
    tenants = tuple(_tenant(t) for t in message.tenants)
    jobs = tuple(_job(j) for j in message.jobs)
    _check(len({t.id for t in tenants}) == len(tenants), "tenants", "no id twice")
    _check(len({j.id for j in jobs}) == len(jobs), "jobs", "no id twice")
    return Desired(message.revision, tenants, jobs, tuple(_rule(r) for r in message.rules))


def _tenant(message: desired_pb2.Tenant) -> Tenant:
    _check(bool(_TENANT.fullmatch(message.id)), f"tenant {message.id!r}.id", _TENANT.pattern)
    quota = Quota(message.quota.jobs, message.quota.cpu_milli, message.quota.memory_bytes)
    return Tenant(message.id, message.display_name[:128], quota)


def _job(message: desired_pb2.JobSpec) -> JobSpec:
    at = f"job {message.id!r}"
    _check(bool(_JOB.fullmatch(message.id)), f"{at}.id", _JOB.pattern)
    _check(message.generation >= 1, f"{at}.generation", "at least 1")
    _check(bool(_TENANT.fullmatch(message.tenant)), f"{at}.tenant", _TENANT.pattern)
    _check(message.kind in _KINDS, f"{at}.kind", "BATCH or SERVICE")
    _check(message.image == "host", f"{at}.image", "'host'")
    words = message.command
    _check(1 <= len(words) <= 64 and bool(words[0]), f"{at}.command", "1..64 words")
    _check(sum(len(w.encode()) for w in words) <= 16384, f"{at}.command", "at most 16384 bytes together")
    _check(all("\0" not in w for w in words), f"{at}.command", "no NUL")
    _check(message.deadline_seconds <= 2592000, f"{at}.deadline_seconds", "0..2592000")
    _check(message.stop_grace_seconds <= 300, f"{at}.stop_grace_seconds", "0..300")
    kind = _KINDS[message.kind]
    return JobSpec(
        id=message.id,
        generation=message.generation,
        tenant=message.tenant,
        kind=kind,
        image=message.image,
        command=tuple(words),
        limits=_limits(at, message.limits),
        restart=_restart(at, kind, message.restart),
        env=_environment(at, message),
        deadline_seconds=message.deadline_seconds,
        stop_grace_seconds=message.stop_grace_seconds or 10,
    )


def _environment(at: str, message: desired_pb2.JobSpec) -> dict[str, str]:
    env = dict(message.env)
    _check(len(env) <= 64, f"{at}.env", "at most 64")
    _check(all(_ENV.fullmatch(name) for name in env), f"{at}.env", f"names matching {_ENV.pattern}")
    _check(all("\0" not in value for value in env.values()), f"{at}.env", "no NUL")
    _check(sum(len((k + v).encode()) for k, v in env.items()) <= 16384, f"{at}.env", "at most 16384 bytes together")
    return env


def _limits(at: str, message: desired_pb2.JobLimits) -> Limits:
    limits = Limits(
        cpu_milli=message.cpu_milli,
        memory_bytes=message.memory_bytes,
        pids=message.pids or 64,
        log_bytes=message.log_bytes or _MIB,
        tmp_bytes=message.tmp_bytes or min(16 * _MIB, message.memory_bytes),
    )
    _check(10 <= limits.cpu_milli <= 1024000, f"{at}.limits.cpu_milli", "10..1024000")
    _check(4 * _MIB <= limits.memory_bytes <= 1 << 50, f"{at}.limits.memory_bytes", "4 MiB..1 PiB")
    _check(4 <= limits.pids <= 4096, f"{at}.limits.pids", "4..4096")
    _check(4096 <= limits.log_bytes <= 64 * _MIB, f"{at}.limits.log_bytes", "4 KiB..64 MiB")
    _check(65536 <= limits.tmp_bytes <= limits.memory_bytes, f"{at}.limits.tmp_bytes", "64 KiB..memory_bytes")
    return limits


def _restart(at: str, kind: JobKind, message: desired_pb2.RestartPolicy) -> RestartPolicy:
    default = RestartMode.ALWAYS if kind is JobKind.SERVICE else RestartMode.NEVER
    policy = RestartPolicy(
        mode=_MODES.get(message.mode, default),
        max_attempts=message.max_attempts,
        window_seconds=message.window_seconds or 600,
        backoff_seconds=message.backoff_seconds or 1,
        backoff_max_seconds=message.backoff_max_seconds or 60,
    )
    _check(policy.backoff_seconds <= policy.backoff_max_seconds, f"{at}.restart", "backoff_seconds <= its maximum")
    return policy


def _rule(message: desired_pb2.DeviceRule) -> DeviceRule:
    _check(1 <= len(message.filter.encode()) <= 512, "rule.filter", "1..512 bytes")
    _check(message.priority <= 9, f"rule {message.filter!r}.priority", "0..9")
    residency = Residency.STORE if message.residency == desired_pb2.RESIDENCY_STORE else Residency.ANY
    return DeviceRule(message.filter, message.forward, residency, message.priority)
