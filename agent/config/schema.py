"""One frozen section for each table of agent.toml. Defaults are production's; units are in the names.

`bounds(low, high)` and `oneof(...)` ride in the field's metadata: load.py enforces them and quotes them in errors.
"""

from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any


def bounds(default: float, low: float, high: float) -> Any:
    return field(default=default, metadata={"low": low, "high": high})


def oneof(default: str, *allowed: str) -> Any:
    return field(default=default, metadata={"allowed": allowed})


def allowed_text(spec: "Field[Any]") -> str:
    """What a field takes, for people; empty when its type says it all."""
    if "low" in spec.metadata:
        return f"{spec.metadata['low']}..{spec.metadata['high']}"
    if "allowed" in spec.metadata:
        return ", ".join(repr(word) for word in spec.metadata["allowed"])
    return ""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """[node]: where the agent keeps what must survive."""

    state_dir: Path = Path("/var/lib/edge-agent")
    run_dir: Path = Path("/run/edge-agent")


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """[link]: the session with central. Where central is was told at enrolment."""

    backoff_base_seconds: float = bounds(1.0, 0.05, 60.0)
    backoff_max_seconds: float = bounds(60.0, 0.1, 3600.0)
    connect_timeout_seconds: float = bounds(20.0, 1.0, 300.0)
    batch_records: int = bounds(500, 1, 1000)
    batch_bytes: int = bounds(131072, 4096, 196608)


@dataclass(frozen=True, slots=True)
class SpoolConfig:
    """[spool]: records that wait for central."""

    limit_bytes: int = bounds(512 << 20, 1 << 20, 1 << 40)


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    """[telemetry]: what is sampled, how often, and how many samples make a batch."""

    interval_seconds: float = bounds(10.0, 0.1, 3600.0)
    batch_ticks: int = bounds(6, 1, 600)
    mounts: tuple[Path, ...] = (Path("/"),)
    disabled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeatConfig:
    """[heat]: when the box is too hot for the work of tenants; looked at with each sample of [telemetry].

    `limit_celsius` 0 = never. `sensors` are names as in telemetry ("hw.id"); none = all.
    """

    limit_celsius: float = bounds(90.0, 0.0, 150.0)
    cool_celsius: float = bounds(80.0, 0.0, 150.0)
    hold_seconds: float = bounds(30.0, 0.0, 3600.0)
    sensors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """[mqtt]: the broker on this box. `broker_dir` has the certificates that it reads."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = bounds(1883, 1, 65535)
    broker_dir: Path = Path("/var/lib/edge-broker")
    receive_maximum: int = bounds(65535, 1, 65535)
    rules_file: Path = Path("/etc/edge-agent/rules.toml")
    max_devices: int = bounds(20_000, 256, 1_000_000)


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """[gateway]: HTTPS for devices, a process of its own. `listen` is HOST:PORT, empty for none."""

    listen: str = ""


@dataclass(frozen=True, slots=True)
class JobsConfig:
    """[jobs]: the launcher, what the store keeps for itself while central says nothing of it, and how often things are.

    `advertise_interfaces` are those on which published ports are found by DNS-SD; none = all of the store's network.
    """

    enabled: bool = True
    launcher_socket: Path = Path("/run/edge-launcher/launcher.sock")
    reserve_cpu_milli: int = bounds(500, 0, 1024000)
    reserve_memory_bytes: int = bounds(512 << 20, 0, 1 << 50)
    reserve_disk_bytes: int = bounds(4 << 30, 0, 1 << 50)
    usage_interval_seconds: float = bounds(60.0, 0.5, 3600.0)
    seal_interval_seconds: float = bounds(600.0, 1.0, 86400.0)
    name_refresh_seconds: float = bounds(60.0, 1.0, 3600.0)
    advertise_interfaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImagesConfig:
    """[images]: where the images of jobs come from, and how much of the disk they may take.

    `limit_bytes` bounds what is kept, fetched and unpacked together; `max_image_bytes` one image as it is transferred
    (the launcher's policy bounds it unpacked). `layouts` are OCI layout directories that are looked through before
    any registry, a USB stick for instance. A fetch that moves no byte for `stall_seconds` is given up and tried again.
    """

    limit_bytes: int = bounds(8 << 30, 16 << 20, 1 << 44)
    max_image_bytes: int = bounds(1 << 30, 1 << 20, 1 << 40)
    layouts: tuple[Path, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    auth_file: Path | None = None
    stall_seconds: float = bounds(60.0, 0.5, 3600.0)


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """[api]: doors besides the session. `listen` is HOST:PORT for the mutually authenticated port, empty for none."""

    socket: Path = Path("/run/edge-agent/agent.sock")
    listen: str = ""


@dataclass(frozen=True, slots=True)
class LogConfig:
    """[log]: how much is said."""

    level: str = oneof("INFO", "DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, slots=True)
class Config:
    node: NodeConfig = NodeConfig()
    link: LinkConfig = LinkConfig()
    spool: SpoolConfig = SpoolConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    heat: HeatConfig = HeatConfig()
    mqtt: MqttConfig = MqttConfig()
    gateway: GatewayConfig = GatewayConfig()
    jobs: JobsConfig = JobsConfig()
    images: ImagesConfig = ImagesConfig()
    api: ApiConfig = ApiConfig()
    log: LogConfig = LogConfig()
