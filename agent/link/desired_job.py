"""One job of a desired state, from the wire's message. Pure: the bounds of proto/storeedge/v1/desired.proto."""

import re

from agent.link.desired_mqtt import grants
from agent.link.desired_network import network
from agent.link.field import bounded, check, unique, words
from agent.spec import (
    HOST_IMAGE,
    HealthCheck,
    JobKind,
    JobSpec,
    Limits,
    Priority,
    RestartMode,
    RestartPolicy,
    SealedSecret,
    Secret,
)
from storeedge.v1 import desired_pb2

TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
JOB = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
# Whether a registry's name is one is for who fetches from it; here it has to end in a digest and hold no surprises.
IMAGE = re.compile(r"([A-Za-z0-9\[][A-Za-z0-9._:/\[\]-]*@)?sha256:[0-9a-f]{64}")

_KIB, _MIB, _PIB = 1 << 10, 1 << 20, 1 << 50
_SIGNED = (1 << 63) - 1
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SECRET = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")
_SECRETS_BYTES = 32 * _KIB  # with the command and the environment they go to the launcher in one packet
_SIGNALS = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2")
_KINDS = {desired_pb2.JOB_KIND_BATCH: JobKind.BATCH, desired_pb2.JOB_KIND_SERVICE: JobKind.SERVICE}
_MODES = {
    desired_pb2.RESTART_MODE_NEVER: RestartMode.NEVER,
    desired_pb2.RESTART_MODE_ON_FAILURE: RestartMode.ON_FAILURE,
    desired_pb2.RESTART_MODE_ALWAYS: RestartMode.ALWAYS,
}
_PRIORITIES = {
    desired_pb2.PRIORITY_UNSPECIFIED: Priority.SPOT,
    desired_pb2.PRIORITY_SPOT: Priority.SPOT,
    desired_pb2.PRIORITY_GUARANTEED: Priority.GUARANTEED,
    desired_pb2.PRIORITY_STORE: Priority.STORE,
}


def job(message: desired_pb2.JobSpec) -> JobSpec:
    """Raises RefusedError(BAD_REQUEST) that names the job, the field and what it takes."""
    at = f"job {message.id!r}"
    check(bool(JOB.fullmatch(message.id)), f"{at}.id", JOB.pattern)
    check(1 <= message.generation <= _SIGNED, f"{at}.generation", "at least 1")
    check(bool(TENANT.fullmatch(message.tenant)), f"{at}.tenant", TENANT.pattern)
    check(message.kind in _KINDS, f"{at}.kind", "BATCH or SERVICE")
    check(message.priority in _PRIORITIES, f"{at}.priority", "SPOT, GUARANTEED or STORE")
    kind = _KINDS[message.kind]
    service = kind is JobKind.SERVICE
    check(service or not message.HasField("health"), f"{at}.health", "only for services")
    check(service or not message.HasField("update"), f"{at}.update", "only for services")
    limits = _limits(f"{at}.limits", message.limits)
    return JobSpec(
        id=message.id,
        generation=message.generation,
        tenant=message.tenant,
        kind=kind,
        image=_image(at, message),
        command=words(message.command, 16 * _KIB, f"{at}.command"),
        limits=limits,
        restart=_restart(f"{at}.restart", kind, message.restart),
        env=_environment(f"{at}.env", message),
        deadline_seconds=bounded(message.deadline_seconds, 0, 2_592_000, f"{at}.deadline_seconds", " s"),
        stop_grace_seconds=bounded(message.stop_grace_seconds, 0, 300, f"{at}.stop_grace_seconds", " s") or 10,
        priority=_PRIORITIES[message.priority],
        network=network(f"{at}.network", message.network) if message.HasField("network") else None,
        health=_health(f"{at}.health", message.health) if message.HasField("health") else None,
        healthy_seconds=bounded(message.update.healthy_seconds, 0, 86_400, f"{at}.update.healthy_seconds", " s"),
        stop_signal=_stop_signal(at, message),
        warm=bounded(message.warm, 0, 8, f"{at}.warm"),
        secrets=_secrets(f"{at}.secrets", message),
        mqtt=grants(f"{at}.mqtt", message),
    )


def _image(at: str, message: desired_pb2.JobSpec) -> str:
    if message.image == HOST_IMAGE:
        check(bool(message.command), f"{at}.command", "at least one word: the image 'host' has no command of its own")
        return HOST_IMAGE
    check(len(message.image) <= 512, f"{at}.image", "at most 512 bytes")
    allowed = "'host', REGISTRY/REPOSITORY@sha256:HEX or sha256:HEX; a tag alone may change, so it is not taken"
    check(bool(IMAGE.fullmatch(message.image)), f"{at}.image", allowed)
    return message.image


def _environment(at: str, message: desired_pb2.JobSpec) -> dict[str, str]:
    env = dict(message.env)
    check(len(env) <= 64, at, "at most 64")
    check(all(_ENV.fullmatch(name) for name in env), at, f"names matching {_ENV.pattern}")
    check(all("\0" not in value for value in env.values()), at, "no NUL")
    check(sum(len((k + v).encode()) for k, v in env.items()) <= 16 * _KIB, at, "at most 16384 bytes together")
    return env


def _limits(at: str, message: desired_pb2.JobLimits) -> Limits:
    memory_bytes = bounded(message.memory_bytes, 4 * _MIB, _PIB, f"{at}.memory_bytes")
    tmp_bytes = message.tmp_bytes or min(16 * _MIB, memory_bytes)
    return Limits(
        cpu_milli=bounded(message.cpu_milli, 10, 1_024_000, f"{at}.cpu_milli"),
        memory_bytes=memory_bytes,
        pids=bounded(message.pids or 64, 4, 4096, f"{at}.pids"),
        log_bytes=bounded(message.log_bytes or _MIB, 4096, 64 * _MIB, f"{at}.log_bytes"),
        tmp_bytes=bounded(tmp_bytes, 64 * _KIB, memory_bytes, f"{at}.tmp_bytes"),
        open_files=bounded(message.open_files or 1024, 16, 65_536, f"{at}.open_files"),
        disk_bytes=message.disk_bytes and bounded(message.disk_bytes, 4 * _MIB, 1 << 40, f"{at}.disk_bytes"),
        io_bytes_per_second=message.io_bytes_per_second
        and bounded(message.io_bytes_per_second, 64 * _KIB, _SIGNED, f"{at}.io_bytes_per_second"),
    )


def _restart(at: str, kind: JobKind, message: desired_pb2.RestartPolicy) -> RestartPolicy:
    default = RestartMode.ALWAYS if kind is JobKind.SERVICE else RestartMode.NEVER
    policy = RestartPolicy(
        mode=_MODES.get(message.mode, default),
        max_attempts=message.max_attempts,
        window_seconds=message.window_seconds or 600,
        backoff_seconds=message.backoff_seconds or 1,
        backoff_max_seconds=message.backoff_max_seconds or 60,
    )
    check(policy.backoff_seconds <= policy.backoff_max_seconds, at, "backoff_seconds <= its maximum")
    return policy


def _health(at: str, message: desired_pb2.Health) -> HealthCheck:
    command = words(message.command, 4 * _KIB, f"{at}.command")
    check(bool(command) != bool(message.tcp_port), at, "exactly one of command and tcp_port")
    return HealthCheck(
        command=command,
        tcp_port=bounded(message.tcp_port, 0, 65_535, f"{at}.tcp_port"),
        interval_seconds=bounded(message.interval_seconds or 10, 1, 3600, f"{at}.interval_seconds", " s"),
        timeout_seconds=bounded(message.timeout_seconds or 5, 1, 60, f"{at}.timeout_seconds", " s"),
        failures=bounded(message.failures or 3, 1, 1000, f"{at}.failures"),
        start_seconds=bounded(message.start_seconds or 30, 1, 86_400, f"{at}.start_seconds", " s"),
    )


def _stop_signal(at: str, message: desired_pb2.JobSpec) -> str:
    check(message.stop_signal in ("", *_SIGNALS), f"{at}.stop_signal", f"one of {', '.join(_SIGNALS)}")
    return message.stop_signal or "TERM"


def _secrets(at: str, message: desired_pb2.JobSpec) -> tuple[Secret, ...]:
    check(len(message.secrets) <= 16, at, "at most 16")
    secrets = tuple(_secret(at, each) for each in message.secrets)
    unique((secret.name for secret in secrets), f"{at}: name")
    size_bytes = sum(max(len(each.ciphertext) for each in secret.sealed) for secret in secrets)
    check(size_bytes <= _SECRETS_BYTES, at, f"at most {_SECRETS_BYTES} bytes together")
    return secrets


def _secret(at: str, message: desired_pb2.Secret) -> Secret:
    check(bool(_SECRET.fullmatch(message.name)), f"{at}.name", _SECRET.pattern)
    check(1 <= len(message.sealed) <= 16, f"{at} {message.name!r}.sealed", "1..16")
    for each in message.sealed:
        check(len(each.key_id) == 16, f"{at} {message.name!r}.key_id", "16 hex digits")
        check(len(each.ephemeral) == 65, f"{at} {message.name!r}.ephemeral", "65 bytes")
        check(16 <= len(each.ciphertext) <= 16 * _KIB, f"{at} {message.name!r}.ciphertext", "16..16384 bytes")
    sealed = tuple(SealedSecret(each.key_id, each.ephemeral, each.ciphertext) for each in message.sealed)
    return Secret(message.name, sealed)
