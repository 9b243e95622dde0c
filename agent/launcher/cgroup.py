"""The cgroups of runs, v2 and v1: find the place, read usage, kill, clean up. Limits are set by plan and runtime."""

import contextlib
import errno
import os
import signal
import time
from pathlib import Path

from agent.launcher.layout import Tree
from agent.launcher.protocol import LauncherError, Usage

CONTROLLERS = ("cpu", "io", "memory", "pids")
_LEAF = "launcher"
_CLEAR_SECONDS = 5.0
_BATCH = 64  # descriptors open at a time


def find(name: str, mountinfo: str, own: str) -> Tree:
    """The tree for `--cgroup name`, from the texts of /proc/self/mountinfo and /proc/self/cgroup.

    A plain name is a cgroup below our own on v2, which systemd delegated to us, and below the root on v1. A name with
    a leading "/" is the path of a cgroup that was delegated for runs alone. Raises LauncherError(host).
    """
    if {"", ".", ".."} & set(name.removeprefix("/").split("/")):  # a purge of "/" would kill the machine
        raise LauncherError("host", f"--cgroup {name}: must name a cgroup of its own, without . and ..")
    v1: list[tuple[str, Path]] = []
    v2: Path | None = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        mount, (kind, _, options) = Path(before.split()[4]), after.split(" ", 2)
        if kind == "cgroup2":
            v2 = mount
        elif kind == "cgroup":
            v1 += [(word, mount) for word in options.split(",") if word not in ("rw", "ro", "xattr", "clone_children")]
    if v1:
        hybrid = (("unified", v2),) if v2 else ()
        return Tree("v1-hybrid" if v2 else "v1", f"/{name.lstrip('/')}", (*v1, *hybrid))
    if not v2:
        raise LauncherError("host", "no cgroup hierarchy is mounted")
    if name.startswith("/"):
        return Tree("v2", name, (("", v2),), top=name)
    ours = next((line[3:] for line in own.splitlines() if line.startswith("0::")), "/")
    ours = ours.removesuffix(f"/{_LEAF}").rstrip("/")  # where `prepare` put us
    return Tree("v2", f"{ours}/{name}", (("", v2),), top=ours or "/")


def prepare(tree: Tree) -> None:
    """Make the parent of all runs. On v2 also let its children have controllers. Raises LauncherError(host).

    A v2 cgroup that gives controllers to children may hold no process itself (cgroups(7), "no internal processes"):
    those found in ours, we included, move to a leaf beside the runs.
    """
    try:
        for parent in tree.everywhere(tree.parent):
            parent.mkdir(parents=True, exist_ok=True)
        if tree.kind == "v2":
            for step in dict.fromkeys((tree.top, tree.parent)):
                if step != "/":  # the root is exempt
                    _evacuate(tree.at("", step))
                enable(tree.at("", step), CONTROLLERS)
    except OSError as error:
        raise LauncherError("host", f"cgroup {tree.parent}: {error}; was it delegated (Delegate=yes)?") from error


def _evacuate(group: Path) -> None:
    pids = (group / "cgroup.procs").read_text().split()
    if pids:
        (group / _LEAF).mkdir(exist_ok=True)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            (group / _LEAF / "cgroup.procs").write_text(pid)


def enable(group: Path, controllers: tuple[str, ...]) -> None:
    """Give those of `controllers` that `group` itself has to its children. Raises OSError."""
    have = (group / "cgroup.controllers").read_text().split()
    words = [f"+{name}" for name in controllers if name in have]
    if words:
        (group / "cgroup.subtree_control").write_text(" ".join(words))


def has_memory_controller(tree: Tree) -> bool:
    """Raspberry Pi OS boots without it; limits would then be words only."""
    if tree.kind != "v2":
        return any(name == "memory" for name, _ in tree.mounts)
    return "memory" in (tree.at("", tree.top) / "cgroup.controllers").read_text().split()


def _number(path: Path, key: str = "") -> int:
    """The number in `path`, or after `key` in a file of lines "key number"; 0 when it is not there."""
    try:
        text = path.read_text()
    except OSError:  # ENOENT before or after the cgroup's life, ENODEV while it goes
        return 0
    if not key:
        return int(text)
    return next((int(line.split()[1]) for line in text.splitlines() if line.split()[0] == key), 0)


def usage(tree: Tree, run: str) -> Usage:
    """Counters of the run's job; all 0 once its cgroup is gone.

    Memory is what can't be given back: anonymous pages and those of tmpfs (shmem), which the cache of files isn't.
    """
    job = tree.job(run)
    if tree.kind == "v2":
        group = tree.at("", job)
        return Usage(
            cpu_nano=_number(group / "cpu.stat", "usage_usec") * 1000,
            memory_bytes=_sum(group / "memory.stat", ("anon", "shmem")),
            memory_peak_bytes=_number(group / "memory.peak"),
            pids=_number(group / "pids.current"),
            oom_kills=_number(group / "memory.events", "oom_kill"),
        )
    memory = tree.at("memory", job)
    return Usage(
        cpu_nano=_number(tree.at("cpuacct", job) / "cpuacct.usage"),
        memory_bytes=_sum(memory / "memory.stat", ("total_rss", "total_shmem")),
        memory_peak_bytes=_number(memory / "memory.max_usage_in_bytes"),
        pids=_number(tree.at("pids", job) / "pids.current"),
        oom_kills=_number(memory / "memory.oom_control", "oom_kill"),
    )


def _sum(path: Path, keys: tuple[str, ...]) -> int:
    """Of the numbers after `keys` in a file of lines "key number"; 0 when it is not there."""
    try:
        text = path.read_text()
    except OSError:
        return 0
    pairs = (line.split() for line in text.splitlines())
    return sum(int(pair[1]) for pair in pairs if pair[0] in keys)


def _groups(tree: Tree, path: str) -> list[Path]:
    """`path` and everything below it in all hierarchies, deepest first."""
    found: list[Path] = []
    for top in dict.fromkeys(tree.everywhere(path)):
        found += [Path(directory) for directory, _, _ in os.walk(top, topdown=False)]
    return found


def kill(tree: Tree, path: str) -> None:
    """SIGKILL to everything in `path` and below, until nobody is left or a few seconds are over."""
    deadline = time.monotonic() + _CLEAR_SECONDS
    while time.monotonic() < deadline:
        groups = _groups(tree, path)
        if not any(_procs(group) for group in groups):
            return
        for group in groups:
            with contextlib.suppress(OSError):  # v1 has no such file; there each process is killed by itself
                (group / "cgroup.kill").write_text("1")
            _kill_each(group)
        time.sleep(0.01)


def _kill_each(group: Path) -> None:
    """SIGKILL to who is in `group`, and to nobody who got the number of one that was."""
    pids = [int(pid) for pid in _procs(group)]
    for start in range(0, len(pids), _BATCH):
        with contextlib.ExitStack() as opened:
            found: dict[int, int] = {}
            for pid in pids[start : start + _BATCH]:
                with contextlib.suppress(OSError):
                    found[pid] = os.pidfd_open(pid)
                    opened.callback(os.close, found[pid])
            still = set(_procs(group))  # only now does the number stand for the descriptor's process
            for pid, fd in found.items():
                if str(pid) in still:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(fd, signal.SIGKILL)


def _procs(group: Path) -> list[str]:
    try:
        return (group / "cgroup.procs").read_text().split()
    except OSError:
        return []


def clear(tree: Tree, path: str) -> bool:
    """Remove `path` and everything below it, in all hierarchies. False when some of it stays busy."""
    deadline = time.monotonic() + _CLEAR_SECONDS
    while True:
        busy = False
        for group in _groups(tree, path):
            try:
                group.rmdir()
            except OSError as error:
                busy = busy or error.errno != errno.ENOENT
        if not busy or time.monotonic() > deadline:
            return not busy
        time.sleep(0.01)  # the kernel frees a cgroup a little after its last process
