from storeedge.v1 import agent_pb2 as _agent_pb2
from storeedge.v1 import desired_pb2 as _desired_pb2
from storeedge.v1 import record_pb2 as _record_pb2
from storeedge.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateTokenRequest(_message.Message):
    __slots__ = ("node", "ttl_seconds")
    NODE_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    node: _types_pb2.NodeRef
    ttl_seconds: int
    def __init__(self, node: _Optional[_Union[_types_pb2.NodeRef, _Mapping]] = ..., ttl_seconds: _Optional[int] = ...) -> None: ...

class CreateTokenResponse(_message.Message):
    __slots__ = ("token", "expires_unix_nano")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    token: str
    expires_unix_nano: int
    def __init__(self, token: _Optional[str] = ..., expires_unix_nano: _Optional[int] = ...) -> None: ...

class ListNodesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListNodesResponse(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("ref", "spiffe_id", "connected", "enrolled_unix_nano", "last_seen_unix_nano", "agent_version", "desired_revision", "applied_revision", "certificate_not_after_unix_nano", "stored", "spool_records", "sealing_key_der")
    REF_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    ENROLLED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    DESIRED_REVISION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_REVISION_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_NOT_AFTER_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    SPOOL_RECORDS_FIELD_NUMBER: _ClassVar[int]
    SEALING_KEY_DER_FIELD_NUMBER: _ClassVar[int]
    ref: _types_pb2.NodeRef
    spiffe_id: str
    connected: bool
    enrolled_unix_nano: int
    last_seen_unix_nano: int
    agent_version: str
    desired_revision: int
    applied_revision: int
    certificate_not_after_unix_nano: int
    stored: _containers.RepeatedCompositeFieldContainer[_types_pb2.Position]
    spool_records: int
    sealing_key_der: bytes
    def __init__(self, ref: _Optional[_Union[_types_pb2.NodeRef, _Mapping]] = ..., spiffe_id: _Optional[str] = ..., connected: _Optional[bool] = ..., enrolled_unix_nano: _Optional[int] = ..., last_seen_unix_nano: _Optional[int] = ..., agent_version: _Optional[str] = ..., desired_revision: _Optional[int] = ..., applied_revision: _Optional[int] = ..., certificate_not_after_unix_nano: _Optional[int] = ..., stored: _Optional[_Iterable[_Union[_types_pb2.Position, _Mapping]]] = ..., spool_records: _Optional[int] = ..., sealing_key_der: _Optional[bytes] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("nodes", "desired")
    NODES_FIELD_NUMBER: _ClassVar[int]
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[_types_pb2.NodeRef]
    desired: _desired_pb2.Desired
    def __init__(self, nodes: _Optional[_Iterable[_Union[_types_pb2.NodeRef, _Mapping]]] = ..., desired: _Optional[_Union[_desired_pb2.Desired, _Mapping]] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("applied",)
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    applied: _containers.RepeatedCompositeFieldContainer[AppliedRevision]
    def __init__(self, applied: _Optional[_Iterable[_Union[AppliedRevision, _Mapping]]] = ...) -> None: ...

class AppliedRevision(_message.Message):
    __slots__ = ("node", "revision", "changed")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    node: _types_pb2.NodeRef
    revision: int
    changed: bool
    def __init__(self, node: _Optional[_Union[_types_pb2.NodeRef, _Mapping]] = ..., revision: _Optional[int] = ..., changed: _Optional[bool] = ...) -> None: ...

class ListNodeJobsRequest(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: _types_pb2.NodeRef
    def __init__(self, node: _Optional[_Union[_types_pb2.NodeRef, _Mapping]] = ...) -> None: ...

class ListNodeJobsResponse(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_agent_pb2.Job]
    def __init__(self, jobs: _Optional[_Iterable[_Union[_agent_pb2.Job, _Mapping]]] = ...) -> None: ...

class QueryMetricsRequest(_message.Message):
    __slots__ = ("node", "name", "since_unix_nano", "limit")
    NODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    node: _types_pb2.NodeRef
    name: str
    since_unix_nano: int
    limit: int
    def __init__(self, node: _Optional[_Union[_types_pb2.NodeRef, _Mapping]] = ..., name: _Optional[str] = ..., since_unix_nano: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class QueryMetricsResponse(_message.Message):
    __slots__ = ("series", "points")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    series: _containers.RepeatedCompositeFieldContainer[MetricSeries]
    points: int
    def __init__(self, series: _Optional[_Iterable[_Union[MetricSeries, _Mapping]]] = ..., points: _Optional[int] = ...) -> None: ...

class MetricSeries(_message.Message):
    __slots__ = ("name", "unit", "kind", "attributes", "points")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    unit: str
    kind: _record_pb2.MetricKind
    attributes: _containers.ScalarMap[str, str]
    points: _containers.RepeatedCompositeFieldContainer[MetricPoint]
    def __init__(self, name: _Optional[str] = ..., unit: _Optional[str] = ..., kind: _Optional[_Union[_record_pb2.MetricKind, str]] = ..., attributes: _Optional[_Mapping[str, str]] = ..., points: _Optional[_Iterable[_Union[MetricPoint, _Mapping]]] = ...) -> None: ...

class MetricPoint(_message.Message):
    __slots__ = ("time_unix_nano", "value")
    TIME_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    time_unix_nano: int
    value: float
    def __init__(self, time_unix_nano: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...

class QueryUsageRequest(_message.Message):
    __slots__ = ("node", "tenant")
    NODE_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    node: _types_pb2.NodeRef
    tenant: str
    def __init__(self, node: _Optional[_Union[_types_pb2.NodeRef, _Mapping]] = ..., tenant: _Optional[str] = ...) -> None: ...

class QueryUsageResponse(_message.Message):
    __slots__ = ("usage",)
    USAGE_FIELD_NUMBER: _ClassVar[int]
    usage: _containers.RepeatedCompositeFieldContainer[TenantUsage]
    def __init__(self, usage: _Optional[_Iterable[_Union[TenantUsage, _Mapping]]] = ...) -> None: ...

class TenantUsage(_message.Message):
    __slots__ = ("node", "tenant", "cpu_nano", "memory_byte_seconds", "wall_nano", "samples", "chain_valid", "disk_byte_seconds", "network_receive_bytes", "network_transmit_bytes", "sealed_index", "faults", "credit_micro", "spent_micro")
    NODE_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    CPU_NANO_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WALL_NANO_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    CHAIN_VALID_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_RECEIVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NETWORK_TRANSMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SEALED_INDEX_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    CREDIT_MICRO_FIELD_NUMBER: _ClassVar[int]
    SPENT_MICRO_FIELD_NUMBER: _ClassVar[int]
    node: _types_pb2.NodeRef
    tenant: str
    cpu_nano: int
    memory_byte_seconds: int
    wall_nano: int
    samples: int
    chain_valid: bool
    disk_byte_seconds: int
    network_receive_bytes: int
    network_transmit_bytes: int
    sealed_index: int
    faults: _containers.RepeatedScalarFieldContainer[str]
    credit_micro: int
    spent_micro: int
    def __init__(self, node: _Optional[_Union[_types_pb2.NodeRef, _Mapping]] = ..., tenant: _Optional[str] = ..., cpu_nano: _Optional[int] = ..., memory_byte_seconds: _Optional[int] = ..., wall_nano: _Optional[int] = ..., samples: _Optional[int] = ..., chain_valid: _Optional[bool] = ..., disk_byte_seconds: _Optional[int] = ..., network_receive_bytes: _Optional[int] = ..., network_transmit_bytes: _Optional[int] = ..., sealed_index: _Optional[int] = ..., faults: _Optional[_Iterable[str]] = ..., credit_micro: _Optional[int] = ..., spent_micro: _Optional[int] = ...) -> None: ...

class QueryRecordsRequest(_message.Message):
    __slots__ = ("node", "record_class", "after_id", "limit", "newest")
    NODE_FIELD_NUMBER: _ClassVar[int]
    RECORD_CLASS_FIELD_NUMBER: _ClassVar[int]
    AFTER_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    node: _types_pb2.NodeRef
    record_class: _types_pb2.RecordClass
    after_id: int
    limit: int
    newest: bool
    def __init__(self, node: _Optional[_Union[_types_pb2.NodeRef, _Mapping]] = ..., record_class: _Optional[_Union[_types_pb2.RecordClass, str]] = ..., after_id: _Optional[int] = ..., limit: _Optional[int] = ..., newest: _Optional[bool] = ...) -> None: ...

class QueryRecordsResponse(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[StoredRecord]
    def __init__(self, records: _Optional[_Iterable[_Union[StoredRecord, _Mapping]]] = ...) -> None: ...

class StoredRecord(_message.Message):
    __slots__ = ("id", "node", "record_class", "seq", "spool_epoch", "received_unix_nano", "record")
    ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    RECORD_CLASS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    SPOOL_EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    id: int
    node: _types_pb2.NodeRef
    record_class: _types_pb2.RecordClass
    seq: int
    spool_epoch: str
    received_unix_nano: int
    record: _record_pb2.Record
    def __init__(self, id: _Optional[int] = ..., node: _Optional[_Union[_types_pb2.NodeRef, _Mapping]] = ..., record_class: _Optional[_Union[_types_pb2.RecordClass, str]] = ..., seq: _Optional[int] = ..., spool_epoch: _Optional[str] = ..., received_unix_nano: _Optional[int] = ..., record: _Optional[_Union[_record_pb2.Record, _Mapping]] = ...) -> None: ...

class CallNodeRequest(_message.Message):
    __slots__ = ("node", "method", "payload", "deadline_milli")
    NODE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MILLI_FIELD_NUMBER: _ClassVar[int]
    node: _types_pb2.NodeRef
    method: str
    payload: bytes
    deadline_milli: int
    def __init__(self, node: _Optional[_Union[_types_pb2.NodeRef, _Mapping]] = ..., method: _Optional[str] = ..., payload: _Optional[bytes] = ..., deadline_milli: _Optional[int] = ...) -> None: ...

class CallNodeResponse(_message.Message):
    __slots__ = ("payload",)
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    def __init__(self, payload: _Optional[bytes] = ...) -> None: ...
