from google.rpc import status_pb2 as _status_pb2
from storeedge.v1 import desired_pb2 as _desired_pb2
from storeedge.v1 import record_pb2 as _record_pb2
from storeedge.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RenewRequest(_message.Message):
    __slots__ = ("csr_der",)
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    csr_der: bytes
    def __init__(self, csr_der: _Optional[bytes] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("chain_der", "bundle_der")
    CHAIN_DER_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DER_FIELD_NUMBER: _ClassVar[int]
    chain_der: _containers.RepeatedScalarFieldContainer[bytes]
    bundle_der: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, chain_der: _Optional[_Iterable[bytes]] = ..., bundle_der: _Optional[_Iterable[bytes]] = ...) -> None: ...

class AgentFrame(_message.Message):
    __slots__ = ("hello", "batch", "call_reply", "heartbeat")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    CALL_REPLY_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    batch: Batch
    call_reply: CallReply
    heartbeat: Heartbeat
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., batch: _Optional[_Union[Batch, _Mapping]] = ..., call_reply: _Optional[_Union[CallReply, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class CentralFrame(_message.Message):
    __slots__ = ("welcome", "ack", "desired", "call", "call_cancel", "call_credit", "drain")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    CALL_CANCEL_FIELD_NUMBER: _ClassVar[int]
    CALL_CREDIT_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    ack: Ack
    desired: _desired_pb2.Desired
    call: Call
    call_cancel: CallCancel
    call_credit: CallCredit
    drain: Drain
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., desired: _Optional[_Union[_desired_pb2.Desired, _Mapping]] = ..., call: _Optional[_Union[Call, _Mapping]] = ..., call_cancel: _Optional[_Union[CallCancel, _Mapping]] = ..., call_credit: _Optional[_Union[CallCredit, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("lane", "boot_id", "agent_version", "spool_epoch", "desired_revision", "acked", "time_unix_nano", "sealing_key_der")
    LANE_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    SPOOL_EPOCH_FIELD_NUMBER: _ClassVar[int]
    DESIRED_REVISION_FIELD_NUMBER: _ClassVar[int]
    ACKED_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    SEALING_KEY_DER_FIELD_NUMBER: _ClassVar[int]
    lane: _types_pb2.Lane
    boot_id: str
    agent_version: str
    spool_epoch: str
    desired_revision: int
    acked: _containers.RepeatedCompositeFieldContainer[_types_pb2.Position]
    time_unix_nano: int
    sealing_key_der: bytes
    def __init__(self, lane: _Optional[_Union[_types_pb2.Lane, str]] = ..., boot_id: _Optional[str] = ..., agent_version: _Optional[str] = ..., spool_epoch: _Optional[str] = ..., desired_revision: _Optional[int] = ..., acked: _Optional[_Iterable[_Union[_types_pb2.Position, _Mapping]]] = ..., time_unix_nano: _Optional[int] = ..., sealing_key_der: _Optional[bytes] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("session", "server_time_unix_nano", "stored", "window_bytes", "heartbeat_seconds")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    WINDOW_BYTES_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    session: str
    server_time_unix_nano: int
    stored: _containers.RepeatedCompositeFieldContainer[_types_pb2.Position]
    window_bytes: int
    heartbeat_seconds: int
    def __init__(self, session: _Optional[str] = ..., server_time_unix_nano: _Optional[int] = ..., stored: _Optional[_Iterable[_Union[_types_pb2.Position, _Mapping]]] = ..., window_bytes: _Optional[int] = ..., heartbeat_seconds: _Optional[int] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("record_class", "first_seq", "records")
    RECORD_CLASS_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    record_class: _types_pb2.RecordClass
    first_seq: int
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.Record]
    def __init__(self, record_class: _Optional[_Union[_types_pb2.RecordClass, str]] = ..., first_seq: _Optional[int] = ..., records: _Optional[_Iterable[_Union[_record_pb2.Record, _Mapping]]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("record_class", "seq")
    RECORD_CLASS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    record_class: _types_pb2.RecordClass
    seq: int
    def __init__(self, record_class: _Optional[_Union[_types_pb2.RecordClass, str]] = ..., seq: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("time_unix_nano", "desired_revision", "spool_bytes", "spool_records")
    TIME_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    DESIRED_REVISION_FIELD_NUMBER: _ClassVar[int]
    SPOOL_BYTES_FIELD_NUMBER: _ClassVar[int]
    SPOOL_RECORDS_FIELD_NUMBER: _ClassVar[int]
    time_unix_nano: int
    desired_revision: int
    spool_bytes: int
    spool_records: int
    def __init__(self, time_unix_nano: _Optional[int] = ..., desired_revision: _Optional[int] = ..., spool_bytes: _Optional[int] = ..., spool_records: _Optional[int] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("id", "method", "deadline_milli", "payload", "principal", "credit")
    ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MILLI_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    id: int
    method: str
    deadline_milli: int
    payload: bytes
    principal: str
    credit: int
    def __init__(self, id: _Optional[int] = ..., method: _Optional[str] = ..., deadline_milli: _Optional[int] = ..., payload: _Optional[bytes] = ..., principal: _Optional[str] = ..., credit: _Optional[int] = ...) -> None: ...

class CallCancel(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class CallCredit(_message.Message):
    __slots__ = ("id", "credit")
    ID_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    id: int
    credit: int
    def __init__(self, id: _Optional[int] = ..., credit: _Optional[int] = ...) -> None: ...

class CallReply(_message.Message):
    __slots__ = ("id", "payload", "end")
    ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    id: int
    payload: bytes
    end: _status_pb2.Status
    def __init__(self, id: _Optional[int] = ..., payload: _Optional[bytes] = ..., end: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("deadline_seconds",)
    DEADLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    deadline_seconds: int
    def __init__(self, deadline_seconds: _Optional[int] = ...) -> None: ...
