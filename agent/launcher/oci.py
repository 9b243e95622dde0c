"""The OCI config.json of a run, built whole by us: nothing in it is the caller's but words, limits and values. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.launcher import layout
from agent.launcher.disk import mounted
from agent.launcher.network import hosts_file, netns
from agent.launcher.protocol import MIB, JobRequest, LauncherError
from agent.launcher.storage import ImageConfig

JOB_ID = 1000  # uid and gid inside the namespace
CPU_PERIOD_MICRO = 100_000
OOM_SCORE_ADJ = 500  # of every job: when the whole machine is out of memory, they go first

_MASKED = (
    # Docker's list (moby/profiles), then what a job on a bare kernel could still read of its neighbours and the host.
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/diskstats",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kmsg",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/modules",
    "/proc/pressure",
    "/proc/sysvipc",
    "/proc/vmallocinfo",
    "/proc/softirqs",
    "/proc/schedstat",
    "/proc/kpagecgroup",
    "/proc/buddyinfo",
    "/proc/cgroups",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/key-users",
    "/proc/locks",
    "/proc/mdstat",
    "/proc/pagetypeinfo",
    "/proc/partitions",
    "/proc/slabinfo",
    "/proc/swaps",
    "/proc/vmstat",
    "/proc/zoneinfo",
)
_MASKED_OF_HOST = ("/usr/local",)  # the machine's own additions
_TERMINALS = 64  # the kernel has 4096 for all mounts together (kernel.pty.max)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_INIT = Path("/run/init")  # where an image's run finds ours
_RUN_BYTES = 65536
_MQTT = Path("/run/mqtt")  # where a run finds the broker's socket
_MQTT_ENVIRONMENT = {"EDGE_MQTT_SOCKET": str(_MQTT / "broker.sock")}
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/work", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 the job's own tmpfs
_IMAGE_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass(frozen=True, slots=True)
class Root:
    """What a run's processes find at /, and who they are there."""

    path: Path
    image: ImageConfig | None = None  # None: this machine's /usr, on the skeleton that all runs share


def config(
    request: JobRequest, slot: int, host: layout.Host, seccomp: Mapping[str, Any], root: Root | None = None
) -> dict[str, Any]:
    """config.json for the runtime; `seccomp` is seccomp.section(...). `root` is of request.image; None for "host"."""
    mapping = [{"containerID": 0, "hostID": layout.uid_base(slot), "size": layout.UID_COUNT}]
    root = root or Root(host.places.rootfs)
    return {
        "ociVersion": "1.0.2",
        "hostname": "job",
        "process": _process(request, host, root.image),
        "root": {"path": str(root.path), "readonly": True},
        "mounts": _mounts(request, host, root.image),
        "linux": {
            "namespaces": [{"type": kind} for kind in ("user", "pid", "ipc", "uts", "mount", "cgroup")]
            + [{"type": "network"} | ({"path": str(netns(host.places, request.run))} if request.network else {})],
            "uidMappings": mapping,
            "gidMappings": mapping,
            "cgroupsPath": host.tree.job(request.run),
            "resources": _resources(request, host.tree.kind),
            "maskedPaths": [*_MASKED, *(() if root.image else _MASKED_OF_HOST)],
            "readonlyPaths": list(_READ_ONLY),
            "rootfsPropagation": "private",
            "seccomp": dict(seccomp),
        },
    }


def user(image: ImageConfig | None) -> tuple[int, int]:
    """(uid, gid) inside the namespace."""
    return (image.uid, image.gid) if image else (JOB_ID, JOB_ID)


def _process(request: JobRequest, host: layout.Host, image: ImageConfig | None) -> dict[str, Any]:
    images = _IMAGE_ENVIRONMENT | dict(image.env) if image else {}
    environment = _ENVIRONMENT | images | (_MQTT_ENVIRONMENT if request.mqtt else {}) | dict(request.env)
    uid, gid = user(image)
    process: dict[str, Any] = {
        "terminal": False,
        "user": {"uid": uid, "gid": gid, "umask": 0o022},
        # A real init: as PID 1 itself a program would ignore signals that it has no handler for.
        "args": [str(_INIT if image else host.init), "--", *command(request, image)],
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": (image.cwd or "/") if image else "/work",
        "capabilities": {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")},
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "hard": request.open_files, "soft": request.open_files},
            # Not 0: where core_pattern is a program (systemd-coredump) the kernel minds no limit but 1, at which it
            # dumps nothing (fs/coredump.c). A dump holds the job's secrets, and is taken outside of its bounds.
            {"type": "RLIMIT_CORE", "hard": 1, "soft": 1},
            # The kernel counts these two against root of the host as well, who made the user namespace: a job that
            # took all that is root's left no timer to the host's own daemons. A run's share stays far below it.
            {"type": "RLIMIT_SIGPENDING", "hard": 64, "soft": 64},  # timers and queued signals
            {"type": "RLIMIT_MSGQUEUE", "hard": 4096, "soft": 4096},  # bytes of POSIX message queues
        ],
        "noNewPrivileges": True,
        "oomScoreAdj": OOM_SCORE_ADJ,  # always set: conmon's own, -1000, must not be inherited
    }
    if host.apparmor:
        process["apparmorProfile"] = host.apparmor
    return process


def command(request: JobRequest, image: ImageConfig | None) -> tuple[str, ...]:
    """The request's, or else the image's own. Raises LauncherError(bad-request) when neither says one."""
    words = request.command or (image.command if image else ())
    if not words:
        raise LauncherError("bad-request", "command: the image has none of its own", "command")
    return words


def _tmpfs(destination: str, size_bytes: int, mode: str, *options: str) -> dict[str, Any]:
    # Empty files take the kernel's memory, and none of `size`: one a page, as mkfs would give, but room for small ones.
    inodes = max(1024, size_bytes // 4096)
    return {
        "destination": destination,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "nodev", f"mode={mode}", f"size={size_bytes}", f"nr_inodes={inodes}", *options],
    }


def _bound(source: Path, destination: Path, *options: str) -> dict[str, Any]:
    return {
        "destination": str(destination),
        "type": "none",
        "source": str(source),
        "options": ["rbind", "nosuid", "nodev", *(options or ("ro",))],
    }


def _mounts(request: JobRequest, host: layout.Host, image: ImageConfig | None) -> list[dict[str, Any]]:
    places, tmp_bytes = host.places, request.tmp_bytes
    mounts = [] if image else [_bound(path, path) for path in (Path("/usr"), *host.etc)]
    mounts += [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", f"max={_TERMINALS}"],
        },
        _tmpfs("/dev/shm", min(tmp_bytes, 16 * MIB), "1777", "noexec"),  # noqa: S108
        _tmpfs("/tmp", tmp_bytes, "1777"),  # noqa: S108
        _bound(mounted(places, request.run), Path("/work"), "rw")
        if request.disk_bytes
        else _tmpfs("/work", tmp_bytes, "1777"),
    ]
    if request.secrets or request.mqtt or image:  # what is mounted below needs a place that the runtime can make
        mounts.append(_tmpfs("/run", _RUN_BYTES, "755"))
    if image:
        mounts.append(_bound(host.init, _INIT))
    if request.secrets:
        mounts.append(_bound(places.run(request.run).secrets, Path("/run/secrets"), "ro", "noexec"))
    if request.mqtt:  # to connect to a socket takes no writing to its file system
        mounts.append(_bound(places.run(request.run).mqtt, _MQTT, "ro", "noexec"))
    if request.network:
        mounts.append(_bound(hosts_file(places, request.run), Path("/etc/hosts"), "ro", "noexec"))
    return mounts


def _resources(request: JobRequest, kind: layout.CgroupKind) -> dict[str, Any]:
    resources: dict[str, Any] = {
        "devices": [{"allow": False, "access": "rwm"}],
        # limit == swap is "no swap" in the OCI's (v1's) sense of memory plus swap.
        "memory": {"limit": request.memory_bytes, "swap": request.memory_bytes},
        "pids": {"limit": request.pids},
        "cpu": {
            "quota": request.cpu_milli * CPU_PERIOD_MICRO // 1000,
            "period": CPU_PERIOD_MICRO,
            "shares": max(2, min(262_144, request.cpu_milli * 1024 // 1000)),
        },
    }
    if kind == "v2":
        resources["unified"] = {"memory.oom.group": "1"}
    return resources
