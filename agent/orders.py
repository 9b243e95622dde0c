"""What is asked about devices through the API, and the answers: nouns between its door and the floor of devices.

Units are in the names. Bounds are those of proto/storeedge/v1; they are checked where data comes in.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from agent.model import DeviceProtocol, DeviceView


class NewCredential(StrEnum):
    """What is asked for; NONE: the identity stays as it is."""

    NONE = ""
    CSR = "csr"
    KEY = "key"
    PASSWORD = "password"  # noqa: S105  the word, not one


@dataclass(frozen=True, slots=True)
class DeviceOrder:
    """PutDevice. None: stays as it is. `days` 0: the default. `keep`: a password it has stays, and is told again.

    `hold`: the broker needn't know before the next order that doesn't hold.
    """

    device: str
    zone: str | None = None
    device_class: str | None = None
    silent_after_seconds: int | None = None
    protocol: DeviceProtocol | None = None
    group: str | None = None
    credential: NewCredential = NewCredential.NONE
    csr_der: bytes = b""
    days: int = 0
    keep: bool = False
    hold: bool = False


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What a device is handed."""

    device: str
    certificate_der: bytes = b""
    not_after_unix_nano: int = 0
    key_der: bytes = field(default=b"", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class IssuedDevices:
    """`in_force`: the broker knows them already. Else it will as soon as it is there."""

    identities: tuple[DeviceIdentity, ...]
    ca_der: bytes
    in_force: bool


@dataclass(frozen=True, slots=True)
class DeviceQuery:
    """ListDevices. `local`: asked on site; what must not leave the store may be shown."""

    after: str = ""
    limit: int = 1000
    zone: str = ""
    device_class: str = ""
    device: str = ""
    silent: bool = False
    local: bool = False


@dataclass(frozen=True, slots=True)
class DevicePage:
    """`devices` by id, behind DeviceQuery.after; `total` and `online` count all that are known here."""

    devices: tuple[DeviceView, ...]
    more: bool
    total: int
    online: int


class CommandState(StrEnum):
    QUEUED = "queued"
    SENT = "sent"
    ANSWERED = "answered"
    EXPIRED = "expired"
    UNANSWERED = "unanswered"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class CommandOrder:
    """SendDeviceCommand. `queue_seconds` 0: refused with AWAY when the device is away."""

    actor: str
    device: str
    name: str
    payload: bytes
    timeout_seconds: float
    idempotency_key: str = ""
    at_least_once: bool = False
    queue_seconds: int = 0


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """`state` ANSWERED, or QUEUED or SENT when it goes on without the caller."""

    command: str
    state: CommandState
    payload: bytes = b""
    elapsed_milli: int = 0


@dataclass(frozen=True, slots=True)
class CommandView:
    id: str
    device: str
    name: str
    actor: str
    state: CommandState
    asked_unix_nano: int
    expires_unix_nano: int
    sent: int
    answer: bytes = b""
