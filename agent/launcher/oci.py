"""The OCI config.json of a run, built whole by us: nothing in it is the caller's but words, limits and values. Pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.launcher import layout
from agent.launcher.protocol import MIB, JobRequest

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
    "/usr/local",  # the machine's own additions
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/work", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 the job's own tmpfs


def config(request: JobRequest, slot: int, host: layout.Host, seccomp: Mapping[str, Any]) -> dict[str, Any]:
    """config.json for the runtime; `seccomp` is seccomp.section(...)."""
    mapping = [{"containerID": 0, "hostID": layout.uid_base(slot), "size": layout.UID_COUNT}]
    return {
        "ociVersion": "1.0.2",
        "hostname": "job",
        "process": _process(request, host.init),
        "root": {"path": str(host.places.rootfs), "readonly": True},
        "mounts": _mounts(request.tmp_bytes, host.etc),
        "linux": {
            "namespaces": [{"type": kind} for kind in ("user", "pid", "ipc", "uts", "mount", "cgroup", "network")],
            "uidMappings": mapping,
            "gidMappings": mapping,
            "cgroupsPath": host.tree.job(request.run),
            "resources": _resources(request, host.tree.kind),
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
            "rootfsPropagation": "private",
            "seccomp": dict(seccomp),
        },
    }


def _process(request: JobRequest, init: Path) -> dict[str, Any]:
    environment = _ENVIRONMENT | dict(request.env)
    return {
        "terminal": False,
        "user": {"uid": JOB_ID, "gid": JOB_ID, "umask": 0o022},
        # A real init: as PID 1 itself a program would ignore signals that it has no handler for.
        "args": [str(init), "--", *request.command],
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": "/work",
        "capabilities": {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")},
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024},
            {"type": "RLIMIT_CORE", "hard": 0, "soft": 0},
            # The kernel counts these two against root of the host as well, who made the user namespace: a job that
            # took all that is root's left no timer to the host's own daemons. 32 jobs stay far below root's limits.
            {"type": "RLIMIT_SIGPENDING", "hard": 64, "soft": 64},  # timers and queued signals
            {"type": "RLIMIT_MSGQUEUE", "hard": 4096, "soft": 4096},  # bytes of POSIX message queues
        ],
        "noNewPrivileges": True,
        "oomScoreAdj": OOM_SCORE_ADJ,  # always set: conmon's own, -1000, must not be inherited
    }


def _tmpfs(destination: str, size_bytes: int, mode: str, *options: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "nodev", f"mode={mode}", f"size={size_bytes}", *options],
    }


def _bound(path: Path) -> dict[str, Any]:
    return {
        "destination": str(path),
        "type": "none",
        "source": str(path),
        "options": ["rbind", "ro", "nosuid", "nodev"],
    }


def _mounts(tmp_bytes: int, etc: tuple[Path, ...]) -> list[dict[str, Any]]:
    return [
        _bound(Path("/usr")),
        *map(_bound, etc),
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
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        _tmpfs("/dev/shm", min(tmp_bytes, 16 * MIB), "1777", "noexec"),  # noqa: S108
        _tmpfs("/tmp", tmp_bytes, "1777"),  # noqa: S108
        _tmpfs("/work", tmp_bytes, "1777"),
    ]


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
