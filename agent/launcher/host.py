"""What this machine is: the runtime that works here, its cgroups, its size. Read once, at the launcher's start."""

import os
from collections.abc import Callable
from pathlib import Path

from agent.launcher import cgroup, monitor
from agent.launcher.layout import Host, Places, Tree
from agent.launcher.protocol import HostFacts, LauncherError

_BINARIES = (Path("/usr/bin"), Path("/usr/sbin"), Path("/bin"), Path("/sbin"))
_ETC = (Path("/etc/ld.so.cache"), Path("/etc/alternatives"))


def choose_runtime(wanted: str, *, crun_refuses: bool, find: Callable[[str], Path | None]) -> Path:
    """crun, unless this host is one where it refuses to start; then runc. Raises LauncherError(host)."""
    if wanted != "auto":
        path = Path(wanted) if wanted.startswith("/") else find(wanted)
        if path is None or not os.access(path, os.X_OK):
            raise LauncherError("host", f"runtime {wanted} is not installed")
        return path
    for name in ("runc",) if crun_refuses else ("crun", "runc"):
        path = find(name)
        if path is not None:
            return path
    raise LauncherError("host", f"no runtime: install {'runc' if crun_refuses else 'crun'}")


def _binary(name: str) -> Path | None:
    return next((folder / name for folder in _BINARIES if os.access(folder / name, os.X_OK)), None)


def _required(name: str) -> Path:
    path = _binary(name)
    if path is None:
        raise LauncherError("host", f"{name} is not installed")
    return path


def _crun_refuses(tree: Tree) -> bool:
    """Crun 1.8.1: "cgroups in hybrid mode not supported" when v2 holds a controller beside v1's."""
    unified = dict(tree.mounts).get("unified")
    return unified is not None and bool((unified / "cgroup.controllers").read_text().strip())


def _version(runtime: Path) -> str:
    """Of "runc version 1.1.5+ds1" and "crun version 1.8.1"."""
    words = monitor.command((str(runtime), "--version"))[1].split()
    return words[2] if len(words) > 2 else "unknown"


def discover(places: Places, *, cgroup_name: str, runtime: str, proc: Path = Path("/proc")) -> Host:
    """Raises LauncherError(host): what is missing, and what to do."""
    tree = cgroup.find(cgroup_name, (proc / "self/mountinfo").read_text(), (proc / "self/cgroup").read_text())
    chosen = choose_runtime(runtime, crun_refuses=_crun_refuses(tree), find=_binary)
    facts = HostFacts(
        runtime=chosen.name,
        runtime_version=_version(chosen),
        cgroup=tree.kind,
        memory_controller=cgroup.has_memory_controller(tree),
        cpus=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        boot_id=(proc / "sys/kernel/random/boot_id").read_text().strip(),
    )
    return Host(
        facts=facts,
        machine=os.uname().machine,
        runtime=chosen,
        conmon=_required("conmon"),
        init=_required("catatonit"),
        tree=tree,
        places=places,
        etc=tuple(path for path in _ETC if path.exists()),
    )
