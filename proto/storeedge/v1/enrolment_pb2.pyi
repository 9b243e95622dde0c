from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class EnrolRequest(_message.Message):
    __slots__ = ("token_id", "token_secret", "csr_der", "hardware")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_SECRET_FIELD_NUMBER: _ClassVar[int]
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    HARDWARE_FIELD_NUMBER: _ClassVar[int]
    token_id: str
    token_secret: str
    csr_der: bytes
    hardware: str
    def __init__(self, token_id: _Optional[str] = ..., token_secret: _Optional[str] = ..., csr_der: _Optional[bytes] = ..., hardware: _Optional[str] = ...) -> None: ...

class EnrolResponse(_message.Message):
    __slots__ = ("chain_der", "bundle_der", "spiffe_id", "control_address", "central_spiffe_id", "server_time_unix_nano")
    CHAIN_DER_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DER_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    CONTROL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CENTRAL_SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    chain_der: _containers.RepeatedScalarFieldContainer[bytes]
    bundle_der: _containers.RepeatedScalarFieldContainer[bytes]
    spiffe_id: str
    control_address: str
    central_spiffe_id: str
    server_time_unix_nano: int
    def __init__(self, chain_der: _Optional[_Iterable[bytes]] = ..., bundle_der: _Optional[_Iterable[bytes]] = ..., spiffe_id: _Optional[str] = ..., control_address: _Optional[str] = ..., central_spiffe_id: _Optional[str] = ..., server_time_unix_nano: _Optional[int] = ...) -> None: ...
