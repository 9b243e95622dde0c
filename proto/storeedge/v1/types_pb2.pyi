from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecordClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECORD_CLASS_UNSPECIFIED: _ClassVar[RecordClass]
    RECORD_CLASS_AUDIT: _ClassVar[RecordClass]
    RECORD_CLASS_USAGE: _ClassVar[RecordClass]
    RECORD_CLASS_EVENT: _ClassVar[RecordClass]
    RECORD_CLASS_DEVICE: _ClassVar[RecordClass]
    RECORD_CLASS_TELEMETRY: _ClassVar[RecordClass]
    RECORD_CLASS_LOG: _ClassVar[RecordClass]

class Lane(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LANE_UNSPECIFIED: _ClassVar[Lane]
    LANE_CONTROL: _ClassVar[Lane]
    LANE_BULK: _ClassVar[Lane]
RECORD_CLASS_UNSPECIFIED: RecordClass
RECORD_CLASS_AUDIT: RecordClass
RECORD_CLASS_USAGE: RecordClass
RECORD_CLASS_EVENT: RecordClass
RECORD_CLASS_DEVICE: RecordClass
RECORD_CLASS_TELEMETRY: RecordClass
RECORD_CLASS_LOG: RecordClass
LANE_UNSPECIFIED: Lane
LANE_CONTROL: Lane
LANE_BULK: Lane

class NodeRef(_message.Message):
    __slots__ = ("store", "node")
    STORE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    store: str
    node: str
    def __init__(self, store: _Optional[str] = ..., node: _Optional[str] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("record_class", "seq")
    RECORD_CLASS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    record_class: RecordClass
    seq: int
    def __init__(self, record_class: _Optional[_Union[RecordClass, str]] = ..., seq: _Optional[int] = ...) -> None: ...
