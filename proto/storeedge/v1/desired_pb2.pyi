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
RESTART_MODE_UNSPECIFIED: RestartMode
RESTART_MODE_NEVER: RestartMode
RESTART_MODE_ON_FAILURE: RestartMode
RESTART_MODE_ALWAYS: RestartMode
RESIDENCY_UNSPECIFIED: Residency
RESIDENCY_ANY: Residency
RESIDENCY_STORE: Residency

class Desired(_message.Message):
    __slots__ = ("revision", "tenants", "jobs", "rules")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    revision: int
    tenants: _containers.RepeatedCompositeFieldContainer[Tenant]
    jobs: _containers.RepeatedCompositeFieldContainer[JobSpec]
    rules: _containers.RepeatedCompositeFieldContainer[DeviceRule]
    def __init__(self, revision: _Optional[int] = ..., tenants: _Optional[_Iterable[_Union[Tenant, _Mapping]]] = ..., jobs: _Optional[_Iterable[_Union[JobSpec, _Mapping]]] = ..., rules: _Optional[_Iterable[_Union[DeviceRule, _Mapping]]] = ...) -> None: ...

class Tenant(_message.Message):
    __slots__ = ("id", "display_name", "quota")
    ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    id: str
    display_name: str
    quota: Quota
    def __init__(self, id: _Optional[str] = ..., display_name: _Optional[str] = ..., quota: _Optional[_Union[Quota, _Mapping]] = ...) -> None: ...

class Quota(_message.Message):
    __slots__ = ("jobs", "cpu_milli", "memory_bytes")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    CPU_MILLI_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    jobs: int
    cpu_milli: int
    memory_bytes: int
    def __init__(self, jobs: _Optional[int] = ..., cpu_milli: _Optional[int] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

class JobSpec(_message.Message):
    __slots__ = ("id", "generation", "tenant", "kind", "image", "command", "env", "limits", "restart", "deadline_seconds", "stop_grace_seconds")
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
    def __init__(self, id: _Optional[str] = ..., generation: _Optional[int] = ..., tenant: _Optional[str] = ..., kind: _Optional[_Union[JobKind, str]] = ..., image: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., env: _Optional[_Mapping[str, str]] = ..., limits: _Optional[_Union[JobLimits, _Mapping]] = ..., restart: _Optional[_Union[RestartPolicy, _Mapping]] = ..., deadline_seconds: _Optional[int] = ..., stop_grace_seconds: _Optional[int] = ...) -> None: ...

class JobLimits(_message.Message):
    __slots__ = ("cpu_milli", "memory_bytes", "pids", "log_bytes", "tmp_bytes")
    CPU_MILLI_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PIDS_FIELD_NUMBER: _ClassVar[int]
    LOG_BYTES_FIELD_NUMBER: _ClassVar[int]
    TMP_BYTES_FIELD_NUMBER: _ClassVar[int]
    cpu_milli: int
    memory_bytes: int
    pids: int
    log_bytes: int
    tmp_bytes: int
    def __init__(self, cpu_milli: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., pids: _Optional[int] = ..., log_bytes: _Optional[int] = ..., tmp_bytes: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("filter", "forward", "residency", "priority")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    RESIDENCY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    filter: str
    forward: bool
    residency: Residency
    priority: int
    def __init__(self, filter: _Optional[str] = ..., forward: _Optional[bool] = ..., residency: _Optional[_Union[Residency, str]] = ..., priority: _Optional[int] = ...) -> None: ...
