"""Desired state: what central wants of this node, in the agent's own nouns. No behaviour.

Units are in the names. Bounds and meanings are those of proto/storeedge/v1/desired.proto, checked in link/desired.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

HOST_IMAGE = "host"


@dataclass(frozen=True, slots=True)
class Quota:
    jobs: int = 0
    cpu_milli: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    network_bits_per_second: int = 0
    network_bytes_per_month: int = 0
    published_ports: int = 0
    mqtt_topics: int = 0


@dataclass(frozen=True, slots=True)
class Prices:
    """Millionths of the unit of account."""

    cpu_core_hour_micro: int = 0
    memory_gib_hour_micro: int = 0
    disk_gib_hour_micro: int = 0
    network_gib_micro: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """`credit_micro` is all that was ever paid in for this node."""

    credit_micro: int
    prices: Prices = Prices()


@dataclass(frozen=True, slots=True)
class Tenant:
    id: str
    display_name: str = ""
    quota: Quota = Quota()
    budget: Budget | None = None
    store: bool = False


class JobKind(StrEnum):
    BATCH = "batch"
    SERVICE = "service"


class Priority(IntEnum):
    """Higher pre-empts lower."""

    SPOT = 1
    GUARANTEED = 2
    STORE = 3


class RestartMode(StrEnum):
    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    mode: RestartMode
    max_attempts: int = 0
    window_seconds: int = 600
    backoff_seconds: int = 1
    backoff_max_seconds: int = 60


@dataclass(frozen=True, slots=True)
class Limits:
    cpu_milli: int
    memory_bytes: int
    pids: int = 64
    log_bytes: int = 1 << 20
    tmp_bytes: int = 16 << 20
    open_files: int = 1024
    disk_bytes: int = 0
    io_bytes_per_second: int = 0


@dataclass(frozen=True, slots=True)
class Egress:
    """One of `cidr` and `name` is set."""

    port: int
    protocol: str = "tcp"
    cidr: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Publish:
    port: int
    job_port: int
    protocol: str = "tcp"
    service: str = ""
    txt: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Network:
    egress: tuple[Egress, ...] = ()
    publish: tuple[Publish, ...] = ()
    peers: bool = False
    bits_per_second: int = 10_000_000
    bytes_per_month: int = 0


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One of `command` and `tcp_port` is set."""

    command: tuple[str, ...] = ()
    tcp_port: int = 0
    interval_seconds: int = 10
    timeout_seconds: int = 5
    failures: int = 3
    start_seconds: int = 30


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A secret for the one node whose sealing key has `key_id`."""

    key_id: str
    ephemeral: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class Secret:
    name: str
    sealed: tuple[SealedSecret, ...]


@dataclass(frozen=True, slots=True)
class MqttGrant:
    """Messages of some devices, and commands to them: `device` alone, or one or both of `zone` and `device_class`."""

    device: str = ""
    zone: str = ""
    device_class: str = ""
    channel: str = ""  # topic filter below devices/<id>/; empty = nothing can be read
    commands: tuple[str, ...] = ()  # "*" = any


@dataclass(frozen=True, slots=True)
class JobSpec:
    """`command` may be empty unless the image is "host": then the image says what runs."""

    id: str
    generation: int
    tenant: str
    kind: JobKind
    image: str
    command: tuple[str, ...]
    limits: Limits
    restart: RestartPolicy
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    deadline_seconds: int = 0
    stop_grace_seconds: int = 10
    priority: Priority = Priority.SPOT
    network: Network | None = None
    health: HealthCheck | None = None
    healthy_seconds: int = 0  # a new generation is rolled back unless healthy within this; 0 = never
    stop_signal: str = "TERM"
    warm: int = 0
    secrets: tuple[Secret, ...] = ()
    mqtt: tuple[MqttGrant, ...] = ()


@dataclass(frozen=True, slots=True)
class MqttView:
    """A run that is there, and what it was granted at the broker. `store`: its tenant is the store itself."""

    run: str
    tenant: str
    job: str
    grants: tuple[MqttGrant, ...]
    store: bool = False


class Residency(StrEnum):
    ANY = "any"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class DeadBand:
    """`field` is dotted; empty = the payload itself is the number."""

    field: str
    delta: float


@dataclass(frozen=True, slots=True)
class DeviceRule:
    filter: str
    forward: bool = True
    residency: Residency = Residency.ANY
    priority: int = 5
    max_per_minute: int = 0
    sample_every: int = 0
    latest_seconds: int = 0
    dead_band: DeadBand | None = None
    batch_seconds: int = 0
    max_payload_bytes: int = 0
    redact: tuple[str, ...] = ()
    undecoded: bool = False


@dataclass(frozen=True, slots=True)
class Reserve:
    """What tenants never get."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TradingHours:
    """Minutes of the store's local day; `weekdays` 1 = Monday, none = every day; to <= from ends on the next day."""

    weekdays: tuple[int, ...]
    from_minute: int
    to_minute: int
    reserve: Reserve


@dataclass(frozen=True, slots=True)
class StorePolicy:
    timezone: str = ""
    reserve: Reserve = Reserve()
    hours: tuple[TradingHours, ...] = ()


@dataclass(frozen=True, slots=True)
class Desired:
    """`store` None: what the node's own configuration reserves."""

    revision: int = 0
    tenants: tuple[Tenant, ...] = ()
    jobs: tuple[JobSpec, ...] = ()
    rules: tuple[DeviceRule, ...] = ()
    store: StorePolicy | None = None
