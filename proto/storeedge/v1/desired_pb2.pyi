from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_KIND_UNSPECIFIED: _ClassVar[JobKind]
    JOB_KIND_BATCH: _ClassVar[JobKind]
    JOB_KIND_SERVICE: _ClassVar[JobKind]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_SPOT: _ClassVar[Priority]
    PRIORITY_GUARANTEED: _ClassVar[Priority]
    PRIORITY_STORE: _ClassVar[Priority]

class RestartMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESTART_MODE_UNSPECIFIED: _ClassVar[RestartMode]
    RESTART_MODE_NEVER: _ClassVar[RestartMode]
    RESTART_MODE_ON_FAILURE: _ClassVar[RestartMode]
    RESTART_MODE_ALWAYS: _ClassVar[RestartMode]

class Residency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESIDENCY_UNSPECIFIED: _ClassVar[Residency]
    RESIDENCY_ANY: _ClassVar[Residency]
    RESIDENCY_STORE: _ClassVar[Residency]
JOB_KIND_UNSPECIFIED: JobKind
JOB_KIND_BATCH: JobKind
JOB_KIND_SERVICE: JobKind
PRIORITY_UNSPECIFIED: Priority
PRIORITY_SPOT: Priority
PRIORITY_GUARANTEED: Priority
PRIORITY_STORE: Priority
RESTART_MODE_UNSPECIFIED: RestartMode
RESTART_MODE_NEVER: RestartMode
RESTART_MODE_ON_FAILURE: RestartMode
RESTART_MODE_ALWAYS: RestartMode
RESIDENCY_UNSPECIFIED: Residency
RESIDENCY_ANY: Residency
RESIDENCY_STORE: Residency

class Desired(_message.Message):
    __slots__ = ("revision", "tenants", "jobs", "rules", "store")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    revision: int
    tenants: _containers.RepeatedCompositeFieldContainer[Tenant]
    jobs: _containers.RepeatedCompositeFieldContainer[JobSpec]
    rules: _containers.RepeatedCompositeFieldContainer[DeviceRule]
    store: StorePolicy
    def __init__(self, revision: _Optional[int] = ..., tenants: _Optional[_Iterable[_Union[Tenant, _Mapping]]] = ..., jobs: _Optional[_Iterable[_Union[JobSpec, _Mapping]]] = ..., rules: _Optional[_Iterable[_Union[DeviceRule, _Mapping]]] = ..., store: _Optional[_Union[StorePolicy, _Mapping]] = ...) -> None: ...

class StorePolicy(_message.Message):
    __slots__ = ("timezone", "reserve", "hours")
    TIMEZONE_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    HOURS_FIELD_NUMBER: _ClassVar[int]
    timezone: str
    reserve: Reserve
    hours: _containers.RepeatedCompositeFieldContainer[TradingHours]
    def __init__(self, timezone: _Optional[str] = ..., reserve: _Optional[_Union[Reserve, _Mapping]] = ..., hours: _Optional[_Iterable[_Union[TradingHours, _Mapping]]] = ...) -> None: ...

class Reserve(_message.Message):
    __slots__ = ("cpu_milli", "memory_bytes", "disk_bytes")
    CPU_MILLI_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    def __init__(self, cpu_milli: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., disk_bytes: _Optional[int] = ...) -> None: ...

class TradingHours(_message.Message):
    __slots__ = ("weekdays", "from_minute", "to_minute", "reserve")
    WEEKDAYS_FIELD_NUMBER: _ClassVar[int]
    FROM_MINUTE_FIELD_NUMBER: _ClassVar[int]
    TO_MINUTE_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    weekdays: _containers.RepeatedScalarFieldContainer[int]
    from_minute: int
    to_minute: int
    reserve: Reserve
    def __init__(self, weekdays: _Optional[_Iterable[int]] = ..., from_minute: _Optional[int] = ..., to_minute: _Optional[int] = ..., reserve: _Optional[_Union[Reserve, _Mapping]] = ...) -> None: ...

class Tenant(_message.Message):
    __slots__ = ("id", "display_name", "quota", "budget", "store")
    ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    id: str
    display_name: str
    quota: Quota
    budget: Budget
    store: bool
    def __init__(self, id: _Optional[str] = ..., display_name: _Optional[str] = ..., quota: _Optional[_Union[Quota, _Mapping]] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ..., store: _Optional[bool] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("credit_micro", "prices")
    CREDIT_MICRO_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    credit_micro: int
    prices: Prices
    def __init__(self, credit_micro: _Optional[int] = ..., prices: _Optional[_Union[Prices, _Mapping]] = ...) -> None: ...

class Prices(_message.Message):
    __slots__ = ("cpu_core_hour_micro", "memory_gib_hour_micro", "disk_gib_hour_micro", "network_gib_micro")
    CPU_CORE_HOUR_MICRO_FIELD_NUMBER: _ClassVar[int]
    MEMORY_GIB_HOUR_MICRO_FIELD_NUMBER: _ClassVar[int]
    DISK_GIB_HOUR_MICRO_FIELD_NUMBER: _ClassVar[int]
    NETWORK_GIB_MICRO_FIELD_NUMBER: _ClassVar[int]
    cpu_core_hour_micro: int
    memory_gib_hour_micro: int
    disk_gib_hour_micro: int
    network_gib_micro: int
    def __init__(self, cpu_core_hour_micro: _Optional[int] = ..., memory_gib_hour_micro: _Optional[int] = ..., disk_gib_hour_micro: _Optional[int] = ..., network_gib_micro: _Optional[int] = ...) -> None: ...

class Quota(_message.Message):
    __slots__ = ("jobs", "cpu_milli", "memory_bytes", "disk_bytes", "network_bits_per_second", "network_bytes_per_month", "published_ports", "mqtt_topics")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    CPU_MILLI_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    NETWORK_BITS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    NETWORK_BYTES_PER_MONTH_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_PORTS_FIELD_NUMBER: _ClassVar[int]
    MQTT_TOPICS_FIELD_NUMBER: _ClassVar[int]
    jobs: int
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    network_bits_per_second: int
    network_bytes_per_month: int
    published_ports: int
    mqtt_topics: int
    def __init__(self, jobs: _Optional[int] = ..., cpu_milli: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., network_bits_per_second: _Optional[int] = ..., network_bytes_per_month: _Optional[int] = ..., published_ports: _Optional[int] = ..., mqtt_topics: _Optional[int] = ...) -> None: ...

class JobSpec(_message.Message):
    __slots__ = ("id", "generation", "tenant", "kind", "image", "command", "env", "limits", "restart", "deadline_seconds", "stop_grace_seconds", "priority", "network", "health", "update", "stop_signal", "warm", "secrets", "mqtt")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    RESTART_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STOP_GRACE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    STOP_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    WARM_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    MQTT_FIELD_NUMBER: _ClassVar[int]
    id: str
    generation: int
    tenant: str
    kind: JobKind
    image: str
    command: _containers.RepeatedScalarFieldContainer[str]
    env: _containers.ScalarMap[str, str]
    limits: JobLimits
    restart: RestartPolicy
    deadline_seconds: int
    stop_grace_seconds: int
    priority: Priority
    network: Network
    health: Health
    update: Update
    stop_signal: str
    warm: int
    secrets: _containers.RepeatedCompositeFieldContainer[Secret]
    mqtt: _containers.RepeatedCompositeFieldContainer[MqttGrant]
    def __init__(self, id: _Optional[str] = ..., generation: _Optional[int] = ..., tenant: _Optional[str] = ..., kind: _Optional[_Union[JobKind, str]] = ..., image: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., env: _Optional[_Mapping[str, str]] = ..., limits: _Optional[_Union[JobLimits, _Mapping]] = ..., restart: _Optional[_Union[RestartPolicy, _Mapping]] = ..., deadline_seconds: _Optional[int] = ..., stop_grace_seconds: _Optional[int] = ..., priority: _Optional[_Union[Priority, str]] = ..., network: _Optional[_Union[Network, _Mapping]] = ..., health: _Optional[_Union[Health, _Mapping]] = ..., update: _Optional[_Union[Update, _Mapping]] = ..., stop_signal: _Optional[str] = ..., warm: _Optional[int] = ..., secrets: _Optional[_Iterable[_Union[Secret, _Mapping]]] = ..., mqtt: _Optional[_Iterable[_Union[MqttGrant, _Mapping]]] = ...) -> None: ...

class MqttGrant(_message.Message):
    __slots__ = ("device", "zone", "device_class", "channel", "commands")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    device: str
    zone: str
    device_class: str
    channel: str
    commands: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, device: _Optional[str] = ..., zone: _Optional[str] = ..., device_class: _Optional[str] = ..., channel: _Optional[str] = ..., commands: _Optional[_Iterable[str]] = ...) -> None: ...

class JobLimits(_message.Message):
    __slots__ = ("cpu_milli", "memory_bytes", "pids", "log_bytes", "tmp_bytes", "open_files", "disk_bytes", "io_bytes_per_second")
    CPU_MILLI_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PIDS_FIELD_NUMBER: _ClassVar[int]
    LOG_BYTES_FIELD_NUMBER: _ClassVar[int]
    TMP_BYTES_FIELD_NUMBER: _ClassVar[int]
    OPEN_FILES_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    IO_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    cpu_milli: int
    memory_bytes: int
    pids: int
    log_bytes: int
    tmp_bytes: int
    open_files: int
    disk_bytes: int
    io_bytes_per_second: int
    def __init__(self, cpu_milli: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., pids: _Optional[int] = ..., log_bytes: _Optional[int] = ..., tmp_bytes: _Optional[int] = ..., open_files: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., io_bytes_per_second: _Optional[int] = ...) -> None: ...

class Network(_message.Message):
    __slots__ = ("egress", "publish", "peers", "bits_per_second", "bytes_per_month")
    EGRESS_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    BITS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_MONTH_FIELD_NUMBER: _ClassVar[int]
    egress: _containers.RepeatedCompositeFieldContainer[Egress]
    publish: _containers.RepeatedCompositeFieldContainer[Publish]
    peers: bool
    bits_per_second: int
    bytes_per_month: int
    def __init__(self, egress: _Optional[_Iterable[_Union[Egress, _Mapping]]] = ..., publish: _Optional[_Iterable[_Union[Publish, _Mapping]]] = ..., peers: _Optional[bool] = ..., bits_per_second: _Optional[int] = ..., bytes_per_month: _Optional[int] = ...) -> None: ...

class Egress(_message.Message):
    __slots__ = ("cidr", "name", "port", "protocol")
    CIDR_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    cidr: str
    name: str
    port: int
    protocol: str
    def __init__(self, cidr: _Optional[str] = ..., name: _Optional[str] = ..., port: _Optional[int] = ..., protocol: _Optional[str] = ...) -> None: ...

class Publish(_message.Message):
    __slots__ = ("port", "job_port", "protocol", "service", "txt")
    class TxtEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PORT_FIELD_NUMBER: _ClassVar[int]
    JOB_PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    TXT_FIELD_NUMBER: _ClassVar[int]
    port: int
    job_port: int
    protocol: str
    service: str
    txt: _containers.ScalarMap[str, str]
    def __init__(self, port: _Optional[int] = ..., job_port: _Optional[int] = ..., protocol: _Optional[str] = ..., service: _Optional[str] = ..., txt: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ("command", "tcp_port", "interval_seconds", "timeout_seconds", "failures", "start_seconds")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    TCP_PORT_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    START_SECONDS_FIELD_NUMBER: _ClassVar[int]
    command: _containers.RepeatedScalarFieldContainer[str]
    tcp_port: int
    interval_seconds: int
    timeout_seconds: int
    failures: int
    start_seconds: int
    def __init__(self, command: _Optional[_Iterable[str]] = ..., tcp_port: _Optional[int] = ..., interval_seconds: _Optional[int] = ..., timeout_seconds: _Optional[int] = ..., failures: _Optional[int] = ..., start_seconds: _Optional[int] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("healthy_seconds",)
    HEALTHY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    healthy_seconds: int
    def __init__(self, healthy_seconds: _Optional[int] = ...) -> None: ...

class Secret(_message.Message):
    __slots__ = ("name", "sealed", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    sealed: _containers.RepeatedCompositeFieldContainer[SealedSecret]
    digest: bytes
    def __init__(self, name: _Optional[str] = ..., sealed: _Optional[_Iterable[_Union[SealedSecret, _Mapping]]] = ..., digest: _Optional[bytes] = ...) -> None: ...

class SealedSecret(_message.Message):
    __slots__ = ("key_id", "ephemeral", "ciphertext")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    ephemeral: bytes
    ciphertext: bytes
    def __init__(self, key_id: _Optional[str] = ..., ephemeral: _Optional[bytes] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...

class RestartPolicy(_message.Message):
    __slots__ = ("mode", "max_attempts", "window_seconds", "backoff_seconds", "backoff_max_seconds")
    MODE_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    mode: RestartMode
    max_attempts: int
    window_seconds: int
    backoff_seconds: int
    backoff_max_seconds: int
    def __init__(self, mode: _Optional[_Union[RestartMode, str]] = ..., max_attempts: _Optional[int] = ..., window_seconds: _Optional[int] = ..., backoff_seconds: _Optional[int] = ..., backoff_max_seconds: _Optional[int] = ...) -> None: ...

class DeviceRule(_message.Message):
    __slots__ = ("filter", "forward", "residency", "priority", "max_per_minute", "sample_every", "latest_seconds", "dead_band", "batch_seconds", "max_payload_bytes", "redact", "undecoded")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    RESIDENCY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MAX_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_EVERY_FIELD_NUMBER: _ClassVar[int]
    LATEST_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DEAD_BAND_FIELD_NUMBER: _ClassVar[int]
    BATCH_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    REDACT_FIELD_NUMBER: _ClassVar[int]
    UNDECODED_FIELD_NUMBER: _ClassVar[int]
    filter: str
    forward: bool
    residency: Residency
    priority: int
    max_per_minute: int
    sample_every: int
    latest_seconds: int
    dead_band: DeadBand
    batch_seconds: int
    max_payload_bytes: int
    redact: _containers.RepeatedScalarFieldContainer[str]
    undecoded: bool
    def __init__(self, filter: _Optional[str] = ..., forward: _Optional[bool] = ..., residency: _Optional[_Union[Residency, str]] = ..., priority: _Optional[int] = ..., max_per_minute: _Optional[int] = ..., sample_every: _Optional[int] = ..., latest_seconds: _Optional[int] = ..., dead_band: _Optional[_Union[DeadBand, _Mapping]] = ..., batch_seconds: _Optional[int] = ..., max_payload_bytes: _Optional[int] = ..., redact: _Optional[_Iterable[str]] = ..., undecoded: _Optional[bool] = ...) -> None: ...

class DeadBand(_message.Message):
    __slots__ = ("field", "delta")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    field: str
    delta: float
    def __init__(self, field: _Optional[str] = ..., delta: _Optional[float] = ...) -> None: ...
