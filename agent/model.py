"""The nouns that more than one floor speaks of. No behaviour beyond what a noun knows of itself.

Units are in the names. Bounds are those of proto/storeedge/v1; they are checked where data comes in.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


class RecordClass(IntEnum):
    """Numbers are those of the wire (storeedge.v1.RecordClass)."""

    AUDIT = 1
    USAGE = 2
    EVENT = 3
    DEVICE = 4
    TELEMETRY = 5
    LOG = 6


@dataclass(frozen=True, slots=True)
class Stamp:
    """When something happened: wall clock, and CLOCK_BOOTTIME of a named boot to repair a wrong wall clock."""

    time_unix_nano: int
    boot_offset_nano: int
    boot_id: str


# --- bodies of records -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuditEntry:
    actor: str
    action: str
    target: str
    outcome: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class UsageSample:
    tenant: str
    job: str
    generation: int
    attempt: int
    start_unix_nano: int
    end_unix_nano: int
    cpu_nano: int
    memory_byte_seconds: int
    wall_nano: int
    network_receive_bytes: int = 0
    network_transmit_bytes: int = 0
    disk_byte_seconds: int = 0
    chain_index: int = 0
    chain_hash: bytes = b""


@dataclass(frozen=True, slots=True)
class ChainLink:
    """The newest link of one tenant's chain of usage samples."""

    tenant: str
    chain_index: int
    chain_hash: bytes


@dataclass(frozen=True, slots=True)
class UsageSeal:
    """The node's signature under the newest links; docs/PROTOCOL.md "The bill"."""

    heads: tuple[ChainLink, ...]
    certificate_der: bytes
    signature: bytes


class JobState(StrEnum):
    """What a tenant sees of its job."""

    PENDING = "pending"
    PREPARING = "preparing"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BACKING_OFF = "backing-off"
    FINISHED = "finished"
    FAILED = "failed"
    LOST = "lost"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Event:
    kind: str
    tenant: str = ""
    job: str = ""
    generation: int = 0
    attempt: int = 0
    state: JobState | None = None
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class DeviceValue:
    """A named reading. `value` is float, int, bool or str, as its decoder typed it."""

    name: str
    value: float | int | bool | str
    unit: str = ""
    time_unix_nano: int = 0  # as the device says; 0 = it doesn't


@dataclass(slots=True)
class DeviceMessage:
    """Not frozen, though nobody changes one: a frozen one takes 1.5 us to make, this 0.3, once for each message."""

    device: str
    topic: str
    payload: bytes
    qos: int = 0
    retained: bool = False
    content_type: str = ""
    user_properties: tuple[tuple[str, str], ...] = ()
    correlation_data: bytes = b""
    packet_id: int = 0
    redelivered: bool = False
    idempotency_key: str = ""
    values: tuple[DeviceValue, ...] = ()
    # How long the spool keeps it, 0..9; doesn't leave the store.
    priority: int = 5
    # Nobody wants it any more from then on (MQTT 5's message expiry), ns since 1970; 0 = never. Doesn't leave.
    expires_unix_nano: int = 0
    # When it came, if a rule has held it since; None = now. Becomes the record's time.
    stamp: Stamp | None = None


class MetricKind(IntEnum):
    """Numbers are those of the wire (storeedge.v1.MetricKind)."""

    GAUGE = 1
    COUNTER = 2
    UP_DOWN_COUNTER = 3


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of a batch by columns; indexes point into MetricBatch.strings."""

    name: int
    unit: int
    kind: MetricKind
    attributes: tuple[int, ...]
    decimals: int
    value_deltas: tuple[int, ...]
    ticks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricBatch:
    start_unix_nano: int
    tick_delta_milli: tuple[int, ...]
    strings: tuple[str, ...]
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class LogChunk:
    tenant: str
    job: str
    generation: int
    attempt: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that had to be dropped, in place of silence."""

    record_class: RecordClass
    first_seq: int
    last_seq: int
    count: int
    reason: str


Body = AuditEntry | UsageSample | UsageSeal | Event | DeviceMessage | MetricBatch | LogChunk | Gap

# Hands records to the spool; all of them are durable when it returns. Raises StorageError when they can't be:
# then none of them is kept and the caller must not acknowledge anything. app.py hands it to every service.
Sink = Callable[[Sequence[Body]], Awaitable[None]]


# --- views: what services show of themselves -----------------------------------------------------


class Health(StrEnum):
    """Of a running service. UNKNOWN: not running, or without a check."""

    UNKNOWN = ""
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class JobView:
    id: str
    generation: int
    tenant: str
    state: JobState
    reason: str
    attempt: int
    exit_code: int | None
    pid: int
    started_unix_nano: int
    ended_unix_nano: int
    message: str = ""
    health: Health = Health.UNKNOWN
    image: str = "host"


@dataclass(frozen=True, slots=True)
class ImageView:
    """`state`: fetching, fetched (waits for its first job), unpacking, ready, failed. total_bytes 0 = not known yet."""

    digest: str
    state: str
    message: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    disk_bytes: int = 0
    last_used_unix_nano: int = 0


@dataclass(frozen=True, slots=True)
class LogLine:
    time_unix_nano: int
    stderr: bool
    text: bytes


class Credential(StrEnum):
    """How a device proves who it is. NONE: heard of, but not registered."""

    NONE = ""
    CERTIFICATE = "certificate"
    PASSWORD = "password"  # noqa: S105  the word, not one
    REVOKED = "revoked"


class DeviceProtocol(StrEnum):
    """Whose topics a device speaks."""

    NATIVE = "native"
    SPARKPLUG = "sparkplug"
    ZIGBEE2MQTT = "zigbee2mqtt"


@dataclass(frozen=True, slots=True)
class DeviceView:
    id: str
    online: bool
    first_seen_unix_nano: int
    last_seen_unix_nano: int
    messages: int
    payload_bytes: int
    last_topic: str
    zone: str = ""
    device_class: str = ""
    credential: Credential = Credential.NONE
    certificate_not_after_unix_nano: int = 0
    messages_per_minute: float = 0.0
    bytes_per_minute: float = 0.0
    silent_after_seconds: int = 0
    silent: bool = False
    values: tuple[DeviceValue, ...] = ()


@dataclass(frozen=True, slots=True)
class SpoolClassView:
    record_class: RecordClass
    next_seq: int
    acked_seq: int
    records: int
    dropped: int


@dataclass(frozen=True, slots=True)
class SpoolView:
    epoch: str
    payload_bytes: int
    limit_bytes: int
    classes: tuple[SpoolClassView, ...]
