"""agent/link/desired_job.py: what tests of whole desired states don't reach."""

from collections.abc import Callable

import pytest

from agent.errors import RefusedError
from agent.link.desired_job import job
from agent.spec import HealthCheck, JobKind, MqttGrant, Priority, SealedSecret, Secret
from storeedge.v1 import desired_pb2 as wire

MIB = 1 << 20
DIGEST = "sha256:" + "ab" * 32


def good() -> wire.JobSpec:
    return wire.JobSpec(
        id="web",
        generation=1,
        tenant="acme",
        kind=wire.JOB_KIND_SERVICE,
        image="host",
        command=["serve"],
        limits=wire.JobLimits(cpu_milli=100, memory_bytes=8 * MIB),
    )


def secret(name: str = "pw", **changes: object) -> wire.Secret:
    sealed = wire.SealedSecret(key_id="0" * 16, ephemeral=bytes(65), ciphertext=bytes(20))
    for field, value in changes.items():
        setattr(sealed, field, value)
    return wire.Secret(name=name, sealed=[sealed])


def test_every_new_field_arrives() -> None:
    message = good()
    message.ClearField("command")
    message.image = f"registry.example:5000/acme/web@{DIGEST}"
    message.limits.open_files, message.limits.disk_bytes, message.limits.io_bytes_per_second = 64, 4 * MIB, 64 << 10
    message.priority, message.stop_signal, message.warm = wire.PRIORITY_GUARANTEED, "INT", 8
    message.health.CopyFrom(wire.Health(tcp_port=80))
    message.update.healthy_seconds = 60
    message.network.peers = True
    message.secrets.append(secret())
    message.mqtt.append(wire.MqttGrant(device="cam-1", channel="#"))
    spec = job(message)
    assert (spec.kind, spec.image, spec.command) == (JobKind.SERVICE, message.image, ())
    assert (spec.limits.open_files, spec.limits.disk_bytes, spec.limits.io_bytes_per_second) == (64, 4 * MIB, 65536)
    assert (spec.priority, spec.stop_signal, spec.warm) == (Priority.GUARANTEED, "INT", 8)
    assert spec.health == HealthCheck(tcp_port=80)
    assert spec.healthy_seconds == 60
    assert spec.network is not None and spec.network.peers
    assert spec.secrets == (Secret("pw", (SealedSecret("0" * 16, bytes(65), bytes(20)),)),)
    assert spec.mqtt == (MqttGrant("cam-1", channel="#"),)


def test_what_is_not_said_is_as_before_this_field_was_there() -> None:
    spec = job(good())
    assert (spec.priority, spec.stop_signal, spec.network, spec.health) == (Priority.SPOT, "TERM", None, None)
    assert (spec.limits.open_files, spec.limits.disk_bytes) == (1024, 0)


BAD: list[tuple[str, Callable[[wire.JobSpec], object]]] = [
    (".image: 'host', REGISTRY", lambda j: setattr(j, "image", "debian:12")),
    (".image: 'host', REGISTRY", lambda j: setattr(j, "image", f"../x y@{DIGEST}")),
    (".image: at most 512", lambda j: setattr(j, "image", "x" * 450 + f"@{DIGEST}")),
    (".command: at least one word", lambda j: j.ClearField("command")),
    (".limits.open_files: 16..65536, not 15", lambda j: setattr(j.limits, "open_files", 15)),
    (".limits.disk_bytes: ", lambda j: setattr(j.limits, "disk_bytes", MIB)),
    (".limits.io_bytes_per_second: ", lambda j: setattr(j.limits, "io_bytes_per_second", 1)),
    (".priority: SPOT, ", lambda j: setattr(j, "priority", 9)),
    (".stop_signal: one of TERM", lambda j: setattr(j, "stop_signal", "KILL")),
    (".warm: 0..8, not 9", lambda j: setattr(j, "warm", 9)),
    (".health: exactly one", lambda j: j.health.CopyFrom(wire.Health())),
    (".health: exactly one", lambda j: j.health.CopyFrom(wire.Health(tcp_port=1, command=["x"]))),
    (".health.tcp_port: ", lambda j: setattr(j.health, "tcp_port", 70_000)),
    (".health.interval_seconds: 1..3600", lambda j: j.health.CopyFrom(wire.Health(tcp_port=1, interval_seconds=3601))),
    (".health.timeout_seconds: 1..60 s", lambda j: j.health.CopyFrom(wire.Health(tcp_port=1, timeout_seconds=61))),
    (".health.command: at most 4096", lambda j: j.health.CopyFrom(wire.Health(command=["x" * 5000]))),
    (".secrets: at most 16", lambda j: j.secrets.extend([secret()] * 17)),
    (".secrets: name: pw comes twice", lambda j: j.secrets.extend([secret()] * 2)),
    (".secrets.name: ", lambda j: j.secrets.append(secret(".hidden"))),
    (".secrets.name: ", lambda j: j.secrets.append(secret("a/b"))),
    (".secrets 'pw'.sealed: 1..16", lambda j: j.secrets.append(wire.Secret(name="pw"))),
    (".secrets 'pw'.ephemeral: 65 bytes", lambda j: j.secrets.append(secret(ephemeral=b"x"))),
    (".secrets 'pw'.ciphertext: ", lambda j: j.secrets.append(secret(ciphertext=b"x"))),
    (".secrets 'pw'.key_id: ", lambda j: j.secrets.append(secret(key_id="x"))),
    (".secrets: at most 32768", lambda j: j.secrets.extend([secret(n, ciphertext=bytes(16_000)) for n in "abc"])),
    (".mqtt: at most 32", lambda j: j.mqtt.extend([wire.MqttGrant()] * 33)),
    (".deadline_seconds: 0..2592000 s", lambda j: setattr(j, "deadline_seconds", 2_592_001)),
    (".update.healthy_seconds: ", lambda j: setattr(j.update, "healthy_seconds", 86_401)),
]  # fmt: skip


@pytest.mark.parametrize(("said", "change"), BAD)
def test_a_value_out_of_bounds_is_refused_with_its_field(said: str, change: Callable[[wire.JobSpec], object]) -> None:
    message = good()
    change(message)
    with pytest.raises(RefusedError) as refusal:
        job(message)
    assert str(refusal.value).startswith(f"job 'web'{said}")
    assert refusal.value.reason == "BAD_REQUEST"


@pytest.mark.parametrize("field", ["health", "update"])
def test_health_and_updates_are_for_services(field: str) -> None:
    message = good()
    message.kind = wire.JOB_KIND_BATCH
    getattr(message, field).SetInParent()
    with pytest.raises(RefusedError, match=f"{field}: only for services"):
        job(message)
