from storeedge.v1 import record_pb2 as _record_pb2
from storeedge.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Credential(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CREDENTIAL_UNSPECIFIED: _ClassVar[Credential]
    CREDENTIAL_CERTIFICATE: _ClassVar[Credential]
    CREDENTIAL_PASSWORD: _ClassVar[Credential]
    CREDENTIAL_REVOKED: _ClassVar[Credential]

class DeviceProtocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEVICE_PROTOCOL_UNSPECIFIED: _ClassVar[DeviceProtocol]
    DEVICE_PROTOCOL_NATIVE: _ClassVar[DeviceProtocol]
    DEVICE_PROTOCOL_SPARKPLUG: _ClassVar[DeviceProtocol]
    DEVICE_PROTOCOL_ZIGBEE2MQTT: _ClassVar[DeviceProtocol]

class Assurance(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ASSURANCE_UNSPECIFIED: _ClassVar[Assurance]
    ASSURANCE_AT_MOST_ONCE: _ClassVar[Assurance]
    ASSURANCE_AT_LEAST_ONCE: _ClassVar[Assurance]

class CommandState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMMAND_STATE_UNSPECIFIED: _ClassVar[CommandState]
    COMMAND_STATE_QUEUED: _ClassVar[CommandState]
    COMMAND_STATE_SENT: _ClassVar[CommandState]
    COMMAND_STATE_ANSWERED: _ClassVar[CommandState]
    COMMAND_STATE_EXPIRED: _ClassVar[CommandState]
    COMMAND_STATE_UNANSWERED: _ClassVar[CommandState]
    COMMAND_STATE_CANCELLED: _ClassVar[CommandState]
CREDENTIAL_UNSPECIFIED: Credential
CREDENTIAL_CERTIFICATE: Credential
CREDENTIAL_PASSWORD: Credential
CREDENTIAL_REVOKED: Credential
DEVICE_PROTOCOL_UNSPECIFIED: DeviceProtocol
DEVICE_PROTOCOL_NATIVE: DeviceProtocol
DEVICE_PROTOCOL_SPARKPLUG: DeviceProtocol
DEVICE_PROTOCOL_ZIGBEE2MQTT: DeviceProtocol
ASSURANCE_UNSPECIFIED: Assurance
ASSURANCE_AT_MOST_ONCE: Assurance
ASSURANCE_AT_LEAST_ONCE: Assurance
COMMAND_STATE_UNSPECIFIED: CommandState
COMMAND_STATE_QUEUED: CommandState
COMMAND_STATE_SENT: CommandState
COMMAND_STATE_ANSWERED: CommandState
COMMAND_STATE_EXPIRED: CommandState
COMMAND_STATE_UNANSWERED: CommandState
COMMAND_STATE_CANCELLED: CommandState

class GetNodeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetNodeResponse(_message.Message):
    __slots__ = ("spiffe_id", "agent_version", "boot_id", "time_unix_nano", "uptime_seconds", "desired_revision", "connected", "certificate_not_after_unix_nano", "agent_pid", "launcher", "conditions")
    class LauncherEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DESIRED_REVISION_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_NOT_AFTER_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    AGENT_PID_FIELD_NUMBER: _ClassVar[int]
    LAUNCHER_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    agent_version: str
    boot_id: str
    time_unix_nano: int
    uptime_seconds: int
    desired_revision: int
    connected: bool
    certificate_not_after_unix_nano: int
    agent_pid: int
    launcher: _containers.ScalarMap[str, str]
    conditions: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, spiffe_id: _Optional[str] = ..., agent_version: _Optional[str] = ..., boot_id: _Optional[str] = ..., time_unix_nano: _Optional[int] = ..., uptime_seconds: _Optional[int] = ..., desired_revision: _Optional[int] = ..., connected: _Optional[bool] = ..., certificate_not_after_unix_nano: _Optional[int] = ..., agent_pid: _Optional[int] = ..., launcher: _Optional[_Mapping[str, str]] = ..., conditions: _Optional[_Iterable[str]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "generation", "tenant", "state", "reason", "attempt", "exit_code", "pid", "started_unix_nano", "ended_unix_nano", "message", "health", "image")
    class Health(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        HEALTH_UNSPECIFIED: _ClassVar[Job.Health]
        HEALTH_STARTING: _ClassVar[Job.Health]
        HEALTH_HEALTHY: _ClassVar[Job.Health]
        HEALTH_UNHEALTHY: _ClassVar[Job.Health]
    HEALTH_UNSPECIFIED: Job.Health
    HEALTH_STARTING: Job.Health
    HEALTH_HEALTHY: Job.Health
    HEALTH_UNHEALTHY: Job.Health
    ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    ENDED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    generation: int
    tenant: str
    state: _record_pb2.JobState
    reason: str
    attempt: int
    exit_code: int
    pid: int
    started_unix_nano: int
    ended_unix_nano: int
    message: str
    health: Job.Health
    image: str
    def __init__(self, id: _Optional[str] = ..., generation: _Optional[int] = ..., tenant: _Optional[str] = ..., state: _Optional[_Union[_record_pb2.JobState, str]] = ..., reason: _Optional[str] = ..., attempt: _Optional[int] = ..., exit_code: _Optional[int] = ..., pid: _Optional[int] = ..., started_unix_nano: _Optional[int] = ..., ended_unix_nano: _Optional[int] = ..., message: _Optional[str] = ..., health: _Optional[_Union[Job.Health, str]] = ..., image: _Optional[str] = ...) -> None: ...

class StopJobRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class StopJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StreamLogsRequest(_message.Message):
    __slots__ = ("job", "tail_bytes", "follow")
    JOB_FIELD_NUMBER: _ClassVar[int]
    TAIL_BYTES_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    job: str
    tail_bytes: int
    follow: bool
    def __init__(self, job: _Optional[str] = ..., tail_bytes: _Optional[int] = ..., follow: _Optional[bool] = ...) -> None: ...

class StreamLogsResponse(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    def __init__(self, lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("time_unix_nano", "stderr", "text")
    TIME_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    time_unix_nano: int
    stderr: bool
    text: bytes
    def __init__(self, time_unix_nano: _Optional[int] = ..., stderr: _Optional[bool] = ..., text: _Optional[bytes] = ...) -> None: ...

class ListDevicesRequest(_message.Message):
    __slots__ = ("after", "limit", "zone", "device_class", "device", "silent")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SILENT_FIELD_NUMBER: _ClassVar[int]
    after: str
    limit: int
    zone: str
    device_class: str
    device: str
    silent: bool
    def __init__(self, after: _Optional[str] = ..., limit: _Optional[int] = ..., zone: _Optional[str] = ..., device_class: _Optional[str] = ..., device: _Optional[str] = ..., silent: _Optional[bool] = ...) -> None: ...

class ListDevicesResponse(_message.Message):
    __slots__ = ("devices", "more", "total", "online")
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    more: bool
    total: int
    online: int
    def __init__(self, devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., more: _Optional[bool] = ..., total: _Optional[int] = ..., online: _Optional[int] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("id", "online", "first_seen_unix_nano", "last_seen_unix_nano", "messages", "bytes", "last_topic", "zone", "device_class", "credential", "certificate_not_after_unix_nano", "messages_per_minute", "bytes_per_minute", "silent_after_seconds", "silent", "values")
    ID_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    LAST_TOPIC_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_NOT_AFTER_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    SILENT_AFTER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SILENT_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    id: str
    online: bool
    first_seen_unix_nano: int
    last_seen_unix_nano: int
    messages: int
    bytes: int
    last_topic: str
    zone: str
    device_class: str
    credential: Credential
    certificate_not_after_unix_nano: int
    messages_per_minute: float
    bytes_per_minute: float
    silent_after_seconds: int
    silent: bool
    values: _containers.RepeatedCompositeFieldContainer[_record_pb2.DeviceValue]
    def __init__(self, id: _Optional[str] = ..., online: _Optional[bool] = ..., first_seen_unix_nano: _Optional[int] = ..., last_seen_unix_nano: _Optional[int] = ..., messages: _Optional[int] = ..., bytes: _Optional[int] = ..., last_topic: _Optional[str] = ..., zone: _Optional[str] = ..., device_class: _Optional[str] = ..., credential: _Optional[_Union[Credential, str]] = ..., certificate_not_after_unix_nano: _Optional[int] = ..., messages_per_minute: _Optional[float] = ..., bytes_per_minute: _Optional[float] = ..., silent_after_seconds: _Optional[int] = ..., silent: _Optional[bool] = ..., values: _Optional[_Iterable[_Union[_record_pb2.DeviceValue, _Mapping]]] = ...) -> None: ...

class PutDeviceRequest(_message.Message):
    __slots__ = ("device", "zone", "device_class", "silent_after_seconds", "protocol", "group", "csr_der", "make_key", "make_password", "days", "keep", "hold")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    SILENT_AFTER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    MAKE_KEY_FIELD_NUMBER: _ClassVar[int]
    MAKE_PASSWORD_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    device: str
    zone: str
    device_class: str
    silent_after_seconds: int
    protocol: DeviceProtocol
    group: str
    csr_der: bytes
    make_key: bool
    make_password: bool
    days: int
    keep: bool
    hold: bool
    def __init__(self, device: _Optional[str] = ..., zone: _Optional[str] = ..., device_class: _Optional[str] = ..., silent_after_seconds: _Optional[int] = ..., protocol: _Optional[_Union[DeviceProtocol, str]] = ..., group: _Optional[str] = ..., csr_der: _Optional[bytes] = ..., make_key: _Optional[bool] = ..., make_password: _Optional[bool] = ..., days: _Optional[int] = ..., keep: _Optional[bool] = ..., hold: _Optional[bool] = ...) -> None: ...

class PutDeviceResponse(_message.Message):
    __slots__ = ("certificate_der", "ca_der", "key_der", "password", "not_after_unix_nano", "in_force")
    CERTIFICATE_DER_FIELD_NUMBER: _ClassVar[int]
    CA_DER_FIELD_NUMBER: _ClassVar[int]
    KEY_DER_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    certificate_der: bytes
    ca_der: bytes
    key_der: bytes
    password: str
    not_after_unix_nano: int
    in_force: bool
    def __init__(self, certificate_der: _Optional[bytes] = ..., ca_der: _Optional[bytes] = ..., key_der: _Optional[bytes] = ..., password: _Optional[str] = ..., not_after_unix_nano: _Optional[int] = ..., in_force: _Optional[bool] = ...) -> None: ...

class PutDevicesRequest(_message.Message):
    __slots__ = ("devices", "check")
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[PutDeviceRequest]
    check: bool
    def __init__(self, devices: _Optional[_Iterable[_Union[PutDeviceRequest, _Mapping]]] = ..., check: _Optional[bool] = ...) -> None: ...

class PutDevicesResponse(_message.Message):
    __slots__ = ("devices", "ca_der", "in_force")
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    CA_DER_FIELD_NUMBER: _ClassVar[int]
    IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[PutDeviceResponse]
    ca_der: bytes
    in_force: bool
    def __init__(self, devices: _Optional[_Iterable[_Union[PutDeviceResponse, _Mapping]]] = ..., ca_der: _Optional[bytes] = ..., in_force: _Optional[bool] = ...) -> None: ...

class RevokeDeviceRequest(_message.Message):
    __slots__ = ("device", "forget")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    FORGET_FIELD_NUMBER: _ClassVar[int]
    device: str
    forget: bool
    def __init__(self, device: _Optional[str] = ..., forget: _Optional[bool] = ...) -> None: ...

class RevokeDeviceResponse(_message.Message):
    __slots__ = ("in_force",)
    IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    in_force: bool
    def __init__(self, in_force: _Optional[bool] = ...) -> None: ...

class SendDeviceCommandRequest(_message.Message):
    __slots__ = ("device", "name", "payload", "timeout_milli", "idempotency_key", "assurance", "queue_seconds")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MILLI_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    ASSURANCE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    device: str
    name: str
    payload: bytes
    timeout_milli: int
    idempotency_key: str
    assurance: Assurance
    queue_seconds: int
    def __init__(self, device: _Optional[str] = ..., name: _Optional[str] = ..., payload: _Optional[bytes] = ..., timeout_milli: _Optional[int] = ..., idempotency_key: _Optional[str] = ..., assurance: _Optional[_Union[Assurance, str]] = ..., queue_seconds: _Optional[int] = ...) -> None: ...

class SendDeviceCommandResponse(_message.Message):
    __slots__ = ("payload", "elapsed_milli", "command", "state")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_MILLI_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    elapsed_milli: int
    command: str
    state: CommandState
    def __init__(self, payload: _Optional[bytes] = ..., elapsed_milli: _Optional[int] = ..., command: _Optional[str] = ..., state: _Optional[_Union[CommandState, str]] = ...) -> None: ...

class ListDeviceCommandsRequest(_message.Message):
    __slots__ = ("device", "after")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    device: str
    after: str
    def __init__(self, device: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class ListDeviceCommandsResponse(_message.Message):
    __slots__ = ("commands", "more")
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    commands: _containers.RepeatedCompositeFieldContainer[DeviceCommand]
    more: bool
    def __init__(self, commands: _Optional[_Iterable[_Union[DeviceCommand, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class DeviceCommand(_message.Message):
    __slots__ = ("id", "device", "name", "actor", "state", "asked_unix_nano", "expires_unix_nano", "sent", "answer")
    ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ASKED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    id: str
    device: str
    name: str
    actor: str
    state: CommandState
    asked_unix_nano: int
    expires_unix_nano: int
    sent: int
    answer: bytes
    def __init__(self, id: _Optional[str] = ..., device: _Optional[str] = ..., name: _Optional[str] = ..., actor: _Optional[str] = ..., state: _Optional[_Union[CommandState, str]] = ..., asked_unix_nano: _Optional[int] = ..., expires_unix_nano: _Optional[int] = ..., sent: _Optional[int] = ..., answer: _Optional[bytes] = ...) -> None: ...

class CancelDeviceCommandRequest(_message.Message):
    __slots__ = ("command",)
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    command: str
    def __init__(self, command: _Optional[str] = ...) -> None: ...

class CancelDeviceCommandResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSpoolRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSpoolResponse(_message.Message):
    __slots__ = ("epoch", "bytes", "limit_bytes", "classes")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    bytes: int
    limit_bytes: int
    classes: _containers.RepeatedCompositeFieldContainer[SpoolClass]
    def __init__(self, epoch: _Optional[str] = ..., bytes: _Optional[int] = ..., limit_bytes: _Optional[int] = ..., classes: _Optional[_Iterable[_Union[SpoolClass, _Mapping]]] = ...) -> None: ...

class SpoolClass(_message.Message):
    __slots__ = ("record_class", "next_seq", "acked_seq", "records", "dropped")
    RECORD_CLASS_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQ_FIELD_NUMBER: _ClassVar[int]
    ACKED_SEQ_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    record_class: _types_pb2.RecordClass
    next_seq: int
    acked_seq: int
    records: int
    dropped: int
    def __init__(self, record_class: _Optional[_Union[_types_pb2.RecordClass, str]] = ..., next_seq: _Optional[int] = ..., acked_seq: _Optional[int] = ..., records: _Optional[int] = ..., dropped: _Optional[int] = ...) -> None: ...

class PutImageRequest(_message.Message):
    __slots__ = ("archive_sha256", "total_bytes", "offset", "data")
    ARCHIVE_SHA256_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    archive_sha256: bytes
    total_bytes: int
    offset: int
    data: bytes
    def __init__(self, archive_sha256: _Optional[bytes] = ..., total_bytes: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class PutImageResponse(_message.Message):
    __slots__ = ("received_bytes", "digest")
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    received_bytes: int
    digest: str
    def __init__(self, received_bytes: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class ListImagesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListImagesResponse(_message.Message):
    __slots__ = ("images",)
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[Image]
    def __init__(self, images: _Optional[_Iterable[_Union[Image, _Mapping]]] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("digest", "state", "message", "done_bytes", "total_bytes", "disk_bytes", "last_used_unix_nano")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DONE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    digest: str
    state: str
    message: str
    done_bytes: int
    total_bytes: int
    disk_bytes: int
    last_used_unix_nano: int
    def __init__(self, digest: _Optional[str] = ..., state: _Optional[str] = ..., message: _Optional[str] = ..., done_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., last_used_unix_nano: _Optional[int] = ...) -> None: ...
