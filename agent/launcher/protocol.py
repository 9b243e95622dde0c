"""The words between the agent and the privileged launcher. Standard library only.

A unix socket of type SOCK_SEQPACKET; one JSON object a packet, at most MAX_PACKET bytes, one reply for each
request, in order. Request: {"op": OP, ...arguments}. Reply: {"ok": {...}} or
{"error": {"code": C, "field": F, "message": M}}; file descriptors ride on the reply (SCM_RIGHTS).

| op           | arguments           | reply                                         | descriptor               |
|--------------|---------------------|-----------------------------------------------|--------------------------|
| hello | | HostFacts | |
| start | JobRequest | RunState; the same run again = its state; a run held with the same request goes on | |
| hold | JobRequest | RunState: the sandbox is made, its job not started | |
| list | [after] | {"runs": [RunState, ...], "more": bool}: by name, those behind `after` | |
| state | run | RunState | |
| watch | run | RunState | pidfd, readable at its end |
| signal | run, signal | {}  (a Signal; KILL ends the cgroup) | |
| check | run | Checked: the run's own health check, once | |
| reach | run, Reach | {}  replaces what the run may reach | |
| usage | run | Usage | |
| logs | run | {} | the log file, read-only |
| remove | run | {}  (only an ended or held run) | |
| image | image | ImageState; begins to unpack what the agent has fetched | |
| images | [after] | {"images": [ImageState, ...], "more": bool}: by image | |
| remove-image | image | {}  (only one that no run uses) | |
| disks | [after] | {"disks": [DiskState, ...], "more": bool}: by TENANT/JOB | |
| remove-disk | tenant, job | {}  (only one that no run uses) | |

The caller names a run and its limits. It can't name a path, an OCI fragment, a user id or a shell string.
"""

import errno
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

MAX_PACKET = 192 * 1024  # below net.core.wmem_default, which is what a packet of a unix socket may have
MIB = 1 << 20
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})  # answered as host, field "disk"

Code = Literal["bad-request", "not-allowed", "not-found", "no-room", "conflict", "host"]
Phase = Literal["held", "running", "ended", "lost"]
Signal = Literal["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"]
IpProtocol = Literal["tcp", "udp"]


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
class Destination:
    """What a run may reach: every address of an IPv4 network, at one port."""

    cidr: str  # "192.0.2.0/24"; a host is /32
    port: int  # 1..65535
    protocol: IpProtocol


@dataclass(frozen=True, slots=True)
class PublishedPort:
    port: int  # on the store's network
    job_port: int  # inside the run
    protocol: IpProtocol


@dataclass(frozen=True, slots=True)
class Reach:
    """What a run may reach, and the names that stand for it in its /etc/hosts. Replaced as a whole.

    `cut` closes everything, what is open included: the tenant has used up its bytes.
    """

    destinations: tuple[Destination, ...] = ()  # at most 512
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])  # at most 64 names x 16
    cut: bool = False


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """A network of its own behind a veth pair; without one a run has only its loopback."""

    reach: Reach = Reach()
    publish: tuple[PublishedPort, ...] = ()  # at most 16
    peers: bool = False  # reach, and be reached by, runs of the same tenant that ask for it too
    bits_per_second: int = 10_000_000  # each way, 64 kbit/s..100 Gbit/s


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """One of `command` and `tcp_port` is set."""

    command: tuple[str, ...] = ()  # at most 64 words, 4 KiB together
    tcp_port: int = 0
    timeout_seconds: int = 5  # 1..60


@dataclass(frozen=True, slots=True)
class JobRequest:
    """Everything a run may ask for. Bounds are checked by request.parse_job."""

    run: str  # [a-z0-9][a-z0-9.-]{0,79}, not with .tmp at its end
    tenant: str  # [a-z0-9][a-z0-9-]{0,31}
    job: str  # [a-z0-9][a-z0-9-]{0,47}; (tenant, job) owns the disk, and is how peers call it
    image: str  # "host", or "sha256:" and 64 hex digits: the manifest of an image that was unpacked
    command: tuple[str, ...]  # at most 64 words, 16 KiB together, no NUL; none = the image's own, not with "host"
    cpu_milli: int  # 10..1024000
    memory_bytes: int  # 4 MiB..1 PiB
    pids: int  # 4..4096
    log_bytes: int  # 4 KiB..64 MiB
    tmp_bytes: int  # 64 KiB..memory_bytes
    open_files: int = 1024  # 16..65536
    disk_bytes: int = 0  # 0 = /work in memory; else 4 MiB..1 TiB
    io_bytes_per_second: int = 0  # of the disk; 0 = no bound, else 64 KiB/s..
    env: Mapping[str, str] = field(default_factory=dict[str, str])  # at most 64, 16 KiB together
    network: NetworkRequest | None = None
    check: CheckRequest | None = None
    mqtt: bool = False  # the store's broker, as a socket below /run/mqtt
    # name -> content in base64; at most 18, 64 KiB together. Never on disk, in a log or in a message.
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


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
    """Read from the run's cgroup and interface; counters since the run began."""

    cpu_nano: int
    memory_bytes: int  # now, that can't be given back: anonymous and tmpfs
    memory_peak_bytes: int
    pids: int
    oom_kills: int
    disk_bytes: int = 0  # reserved for /work
    network_receive_bytes: int = 0
    network_transmit_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    healthy: bool
    message: str  # for people, at most 512 characters; empty when healthy


@dataclass(frozen=True, slots=True)
class ImageState:
    """`state` "absent": the agent hasn't fetched it (all of it) yet. "failed": refused, `message` says why."""

    image: str
    state: Literal["absent", "unpacking", "ready", "failed"]
    message: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    disk_bytes: int = 0
    last_used_unix_nano: int = 0


@dataclass(frozen=True, slots=True)
class DiskState:
    tenant: str
    job: str
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class HostFacts:
    runtime: str  # "crun" or "runc"
    runtime_version: str
    cgroup: str  # "v2" or "v1-hybrid" or "v1"
    memory_controller: bool
    cpus: int
    memory_bytes: int
    boot_id: str
    disk_bytes: int = 0  # of the file system that holds disks and images
    network: bool = False  # runs can have a network here (ip, nft and root's policy allow it)
    apparmor: bool = False  # runs are confined by the edge-job profile
    idmap: bool = False  # mounts can be mapped: images and disks show their true owners
    max_runs: int = 64  # at once, by root's policy
    mqtt: bool = False  # runs can have a way to the store's broker here, by root's policy


def to_json(
    value: JobRequest | RunState | Usage | HostFacts | Reach | Checked | ImageState | DiskState,
) -> dict[str, Any]:
    return asdict(value)
