from storeedge.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_PENDING: _ClassVar[JobState]
    JOB_STATE_STARTING: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_STOPPING: _ClassVar[JobState]
    JOB_STATE_BACKING_OFF: _ClassVar[JobState]
    JOB_STATE_FINISHED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_LOST: _ClassVar[JobState]
    JOB_STATE_REJECTED: _ClassVar[JobState]
    JOB_STATE_PREPARING: _ClassVar[JobState]

class MetricKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METRIC_KIND_UNSPECIFIED: _ClassVar[MetricKind]
    METRIC_KIND_GAUGE: _ClassVar[MetricKind]
    METRIC_KIND_COUNTER: _ClassVar[MetricKind]
    METRIC_KIND_UP_DOWN_COUNTER: _ClassVar[MetricKind]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_PENDING: JobState
JOB_STATE_STARTING: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_STOPPING: JobState
JOB_STATE_BACKING_OFF: JobState
JOB_STATE_FINISHED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_LOST: JobState
JOB_STATE_REJECTED: JobState
JOB_STATE_PREPARING: JobState
METRIC_KIND_UNSPECIFIED: MetricKind
METRIC_KIND_GAUGE: MetricKind
METRIC_KIND_COUNTER: MetricKind
METRIC_KIND_UP_DOWN_COUNTER: MetricKind

class Record(_message.Message):
    __slots__ = ("time_unix_nano", "boot_offset_nano", "boot_id", "audit", "usage", "event", "device", "metrics", "log", "gap", "seal")
    TIME_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    BOOT_OFFSET_NANO_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    SEAL_FIELD_NUMBER: _ClassVar[int]
    time_unix_nano: int
    boot_offset_nano: int
    boot_id: str
    audit: AuditEntry
    usage: UsageSample
    event: Event
    device: DeviceMessage
    metrics: MetricBatch
    log: LogChunk
    gap: Gap
    seal: UsageSeal
    def __init__(self, time_unix_nano: _Optional[int] = ..., boot_offset_nano: _Optional[int] = ..., boot_id: _Optional[str] = ..., audit: _Optional[_Union[AuditEntry, _Mapping]] = ..., usage: _Optional[_Union[UsageSample, _Mapping]] = ..., event: _Optional[_Union[Event, _Mapping]] = ..., device: _Optional[_Union[DeviceMessage, _Mapping]] = ..., metrics: _Optional[_Union[MetricBatch, _Mapping]] = ..., log: _Optional[_Union[LogChunk, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ..., seal: _Optional[_Union[UsageSeal, _Mapping]] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("record_class", "first_seq", "last_seq", "count", "reason")
    RECORD_CLASS_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    record_class: _types_pb2.RecordClass
    first_seq: int
    last_seq: int
    count: int
    reason: str
    def __init__(self, record_class: _Optional[_Union[_types_pb2.RecordClass, str]] = ..., first_seq: _Optional[int] = ..., last_seq: _Optional[int] = ..., count: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class AuditEntry(_message.Message):
    __slots__ = ("actor", "action", "target", "outcome", "detail")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    actor: str
    action: str
    target: str
    outcome: str
    detail: str
    def __init__(self, actor: _Optional[str] = ..., action: _Optional[str] = ..., target: _Optional[str] = ..., outcome: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class UsageSample(_message.Message):
    __slots__ = ("tenant", "job", "generation", "attempt", "start_unix_nano", "end_unix_nano", "cpu_nano", "memory_byte_seconds", "wall_nano", "network_receive_bytes", "network_transmit_bytes", "disk_byte_seconds", "chain_index", "chain_hash")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    START_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    END_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    CPU_NANO_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WALL_NANO_FIELD_NUMBER: _ClassVar[int]
    NETWORK_RECEIVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NETWORK_TRANSMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CHAIN_INDEX_FIELD_NUMBER: _ClassVar[int]
    CHAIN_HASH_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    job: str
    generation: int
    attempt: int
    start_unix_nano: int
    end_unix_nano: int
    cpu_nano: int
    memory_byte_seconds: int
    wall_nano: int
    network_receive_bytes: int
    network_transmit_bytes: int
    disk_byte_seconds: int
    chain_index: int
    chain_hash: bytes
    def __init__(self, tenant: _Optional[str] = ..., job: _Optional[str] = ..., generation: _Optional[int] = ..., attempt: _Optional[int] = ..., start_unix_nano: _Optional[int] = ..., end_unix_nano: _Optional[int] = ..., cpu_nano: _Optional[int] = ..., memory_byte_seconds: _Optional[int] = ..., wall_nano: _Optional[int] = ..., network_receive_bytes: _Optional[int] = ..., network_transmit_bytes: _Optional[int] = ..., disk_byte_seconds: _Optional[int] = ..., chain_index: _Optional[int] = ..., chain_hash: _Optional[bytes] = ...) -> None: ...

class UsageSeal(_message.Message):
    __slots__ = ("heads", "certificate_der", "signature")
    HEADS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_DER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    heads: _containers.RepeatedCompositeFieldContainer[ChainHead]
    certificate_der: bytes
    signature: bytes
    def __init__(self, heads: _Optional[_Iterable[_Union[ChainHead, _Mapping]]] = ..., certificate_der: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class ChainHead(_message.Message):
    __slots__ = ("tenant", "chain_index", "chain_hash")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    CHAIN_INDEX_FIELD_NUMBER: _ClassVar[int]
    CHAIN_HASH_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    chain_index: int
    chain_hash: bytes
    def __init__(self, tenant: _Optional[str] = ..., chain_index: _Optional[int] = ..., chain_hash: _Optional[bytes] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("kind", "tenant", "job", "generation", "attempt", "state", "reason", "message", "exit_code", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    kind: str
    tenant: str
    job: str
    generation: int
    attempt: int
    state: JobState
    reason: str
    message: str
    exit_code: int
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, kind: _Optional[str] = ..., tenant: _Optional[str] = ..., job: _Optional[str] = ..., generation: _Optional[int] = ..., attempt: _Optional[int] = ..., state: _Optional[_Union[JobState, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., exit_code: _Optional[int] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class DeviceMessage(_message.Message):
    __slots__ = ("device", "topic", "payload", "qos", "retained", "content_type", "user_properties", "correlation_data", "packet_id", "redelivered", "idempotency_key", "values")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    QOS_FIELD_NUMBER: _ClassVar[int]
    RETAINED_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    USER_PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_DATA_FIELD_NUMBER: _ClassVar[int]
    PACKET_ID_FIELD_NUMBER: _ClassVar[int]
    REDELIVERED_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    device: str
    topic: str
    payload: bytes
    qos: int
    retained: bool
    content_type: str
    user_properties: _containers.RepeatedCompositeFieldContainer[UserProperty]
    correlation_data: bytes
    packet_id: int
    redelivered: bool
    idempotency_key: str
    values: _containers.RepeatedCompositeFieldContainer[DeviceValue]
    def __init__(self, device: _Optional[str] = ..., topic: _Optional[str] = ..., payload: _Optional[bytes] = ..., qos: _Optional[int] = ..., retained: _Optional[bool] = ..., content_type: _Optional[str] = ..., user_properties: _Optional[_Iterable[_Union[UserProperty, _Mapping]]] = ..., correlation_data: _Optional[bytes] = ..., packet_id: _Optional[int] = ..., redelivered: _Optional[bool] = ..., idempotency_key: _Optional[str] = ..., values: _Optional[_Iterable[_Union[DeviceValue, _Mapping]]] = ...) -> None: ...

class DeviceValue(_message.Message):
    __slots__ = ("name", "unit", "number", "integer", "flag", "text", "time_unix_nano")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    FLAG_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    name: str
    unit: str
    number: float
    integer: int
    flag: bool
    text: str
    time_unix_nano: int
    def __init__(self, name: _Optional[str] = ..., unit: _Optional[str] = ..., number: _Optional[float] = ..., integer: _Optional[int] = ..., flag: _Optional[bool] = ..., text: _Optional[str] = ..., time_unix_nano: _Optional[int] = ...) -> None: ...

class UserProperty(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class LogChunk(_message.Message):
    __slots__ = ("tenant", "job", "generation", "attempt", "offset", "data")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    job: str
    generation: int
    attempt: int
    offset: int
    data: bytes
    def __init__(self, tenant: _Optional[str] = ..., job: _Optional[str] = ..., generation: _Optional[int] = ..., attempt: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class MetricBatch(_message.Message):
    __slots__ = ("start_unix_nano", "tick_delta_milli", "strings", "series")
    START_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    TICK_DELTA_MILLI_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    start_unix_nano: int
    tick_delta_milli: _containers.RepeatedScalarFieldContainer[int]
    strings: _containers.RepeatedScalarFieldContainer[str]
    series: _containers.RepeatedCompositeFieldContainer[Series]
    def __init__(self, start_unix_nano: _Optional[int] = ..., tick_delta_milli: _Optional[_Iterable[int]] = ..., strings: _Optional[_Iterable[str]] = ..., series: _Optional[_Iterable[_Union[Series, _Mapping]]] = ...) -> None: ...

class Series(_message.Message):
    __slots__ = ("name", "unit", "kind", "attributes", "decimals", "value_deltas", "ticks")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    DECIMALS_FIELD_NUMBER: _ClassVar[int]
    VALUE_DELTAS_FIELD_NUMBER: _ClassVar[int]
    TICKS_FIELD_NUMBER: _ClassVar[int]
    name: int
    unit: int
    kind: MetricKind
    attributes: _containers.RepeatedScalarFieldContainer[int]
    decimals: int
    value_deltas: _containers.RepeatedScalarFieldContainer[int]
    ticks: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[int] = ..., unit: _Optional[int] = ..., kind: _Optional[_Union[MetricKind, str]] = ..., attributes: _Optional[_Iterable[int]] = ..., decimals: _Optional[int] = ..., value_deltas: _Optional[_Iterable[int]] = ..., ticks: _Optional[_Iterable[int]] = ...) -> None: ...
