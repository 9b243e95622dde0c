"""The words between the agent and the privileged launcher. Standard library only.

A unix socket of type SOCK_SEQPACKET; one JSON object a packet, at most MAX_PACKET bytes, one reply for each
request, in order. Request: {"op": OP, ...arguments}. Reply: {"ok": {...}} or
{"error": {"code": C, "field": F, "message": M}}; file descriptors ride on the reply (SCM_RIGHTS).

| op      | arguments     | reply                                         | descriptor               |
|---------|---------------|-----------------------------------------------|--------------------------|
| hello   |               | HostFacts                                     |                          |
| start   | JobRequest    | RunState; the same run again = its state      |                          |
| list    |               | {"runs": [RunState, ...]}                     |                          |
| state   | run           | RunState                                      |                          |
| watch   | run           | RunState                                      | pidfd, readable at its end |
| signal  | run, signal   | {}  ("TERM", "KILL"; KILL ends the cgroup)    |                          |
| usage   | run           | Usage                                         |                          |
| logs    | run           | {}                                            | the log file, read-only  |
| remove  | run           | {}  (only an ended run)                       |                          |

The caller names a run and its limits. It can't name a path, an OCI fragment, a user id or a shell string.
"""

import errno
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

MAX_PACKET = 96 * 1024
MIB = 1 << 20
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})  # answered as host, field "disk"

_RUN = re.compile(r"[a-z0-9][a-z0-9.-]{0,79}")
_WORD = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

Code = Literal["bad-request", "not-allowed", "not-found", "no-room", "conflict", "host"]
Phase = Literal["running", "ended", "lost"]
Signal = Literal["TERM", "KILL"]


class LauncherError(Exception):
    """A refusal or a failure; `code` says whose turn it is.

    bad-request, not-allowed, not-found and conflict are the caller's; no-room passes; host is this machine's (missing
    runtime, no cgroup controller; with field "disk" when its disk is full or failing).
    """

    def __init__(self, code: Code, message: str, field: str = "") -> None:
        super().__init__(message)
        self.code: Code = code
        self.field = field


@dataclass(frozen=True, slots=True)
class JobRequest:
    """Everything a run may ask for. Bounds are checked by `parse_job`."""

    run: str  # [a-z0-9][a-z0-9.-]{0,79}
    tenant: str  # [a-z0-9][a-z0-9-]{0,31}
    image: str  # "host"
    command: tuple[str, ...]  # 1..64 words, at most 16 KiB together, no NUL
    cpu_milli: int  # 10..1024000
    memory_bytes: int  # 4 MiB..1 PiB
    pids: int  # 4..4096
    log_bytes: int  # 4 KiB..64 MiB
    tmp_bytes: int  # 64 KiB..memory_bytes
    env: Mapping[str, str] = field(default_factory=dict[str, str])  # at most 64, 16 KiB together


@dataclass(frozen=True, slots=True)
class RunState:
    run: str
    tenant: str
    phase: Phase
    pid: int  # of the job's init on the host; 0 when not running
    exit_code: int | None  # 0..255, 128+n for signal n; None unless ended
    oom_killed: bool
    started_unix_nano: int
    ended_unix_nano: int  # 0 unless ended


@dataclass(frozen=True, slots=True)
class Usage:
    """Read from the run's cgroup; counters since the run began."""

    cpu_nano: int
    memory_bytes: int  # now
    memory_peak_bytes: int
    pids: int
    oom_kills: int


@dataclass(frozen=True, slots=True)
class HostFacts:
    runtime: str  # "crun" or "runc"
    runtime_version: str
    cgroup: str  # "v2" or "v1-hybrid" or "v1"
    memory_controller: bool
    cpus: int
    memory_bytes: int
    boot_id: str


def _refuse(name: str, allowed: str) -> LauncherError:
    return LauncherError("bad-request", f"{name}: {allowed}", name)


def text(raw: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _refuse(name, f"a string matching {pattern.pattern}")
    return value


def _number(raw: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = raw.get(name)
    if type(value) is not int or not low <= value <= high:
        raise _refuse(name, f"an integer in {low}..{high}")
    return value


def run_name(raw: Mapping[str, Any]) -> str:
    return text(raw, "run", _RUN)


def signal_name(raw: Mapping[str, Any]) -> Signal:
    match raw.get("signal"):
        case "TERM":
            return "TERM"
        case "KILL":
            return "KILL"
        case _:
            raise _refuse("signal", "TERM or KILL")


def _plain(word: str) -> bool:
    """Can be an argument or a variable: no NUL, no lone surrogate (JSON can say both)."""
    return "\0" not in word and not any("\ud800" <= letter <= "\udfff" for letter in word)


def _command(raw: Mapping[str, Any]) -> tuple[str, ...]:
    value = raw.get("command")
    if not isinstance(value, list) or not 1 <= len(cast("list[object]", value)) <= 64:
        raise _refuse("command", "a list of 1..64 strings")
    words: list[str] = []
    for word in cast("list[object]", value):
        if not isinstance(word, str) or not _plain(word):
            raise _refuse("command", "strings of Unicode without NUL")
        words.append(word)
    if not words[0] or sum(len(word.encode()) for word in words) > 16384:
        raise _refuse("command", "a first word, and at most 16384 bytes together")
    return tuple(words)


def _env(raw: Mapping[str, Any]) -> dict[str, str]:
    value = raw.get("env", {})
    if not isinstance(value, dict) or len(cast("dict[object, object]", value)) > 64:
        raise _refuse("env", "an object of at most 64 strings")
    env: dict[str, str] = {}
    for name, content in cast("dict[object, object]", value).items():
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            raise _refuse("env", f"names matching {_ENV_NAME.pattern}")
        if not isinstance(content, str) or not _plain(content):
            raise _refuse("env", "string values of Unicode without NUL")
        env[name] = content
    if sum(len((k + v).encode()) for k, v in env.items()) > 16384:
        raise _refuse("env", "at most 16384 bytes together")
    return env


_JOB_FIELDS = frozenset(
    {"run", "tenant", "image", "command", "cpu_milli", "memory_bytes", "pids", "log_bytes", "tmp_bytes", "env"}
)


def parse_job(raw: Mapping[str, Any]) -> JobRequest:
    """A request from its JSON object. Raises LauncherError(bad-request) that names the field and what it takes."""
    unknown = set(raw) - _JOB_FIELDS - {"op"}
    if unknown:
        raise LauncherError("bad-request", f"unknown field {min(unknown)}", min(unknown))
    memory_bytes = _number(raw, "memory_bytes", 4 * MIB, 1 << 50)
    return JobRequest(
        run=run_name(raw),
        tenant=text(raw, "tenant", _WORD),
        image=text(raw, "image", re.compile(r"host")),
        command=_command(raw),
        cpu_milli=_number(raw, "cpu_milli", 10, 1_024_000),
        memory_bytes=memory_bytes,
        pids=_number(raw, "pids", 4, 4096),
        log_bytes=_number(raw, "log_bytes", 4096, 64 * MIB),
        tmp_bytes=_number(raw, "tmp_bytes", 65536, memory_bytes),
        env=_env(raw),
    )


def to_json(value: JobRequest | RunState | Usage | HostFacts) -> dict[str, Any]:
    return asdict(value)
