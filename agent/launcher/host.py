"""What this machine is: the runtime that works here, its cgroups, its size. Read once, at the launcher's start."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agent.launcher import cgroup, idmap, interface, monitor, network
from agent.launcher.layout import Host, Places, Tree
from agent.launcher.policy import USUAL_NETWORK, Policy
from agent.launcher.protocol import HostFacts, LauncherError

_BINARIES = (Path("/usr/bin"), Path("/usr/sbin"), Path("/bin"), Path("/sbin"))
_PROFILE = "edge-job"  # systemd/apparmor/edge-job
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


def kernel_is(release: str, *least: int) -> bool:
    """Whether `uname -r` says at least that version."""
    numbers = [int(word) for word in re.split(r"[.-]", release)[:2] if word.isdigit()]
    return tuple(numbers) >= least


def disk_of(path: Path, sys: Path = Path("/sys")) -> str:
    """The whole disk that holds `path`, "8:0": io can't be limited for a part of it. Empty when it has none."""
    device = path.stat().st_dev
    here = sys / "dev/block" / f"{os.major(device)}:{os.minor(device)}"
    if not here.exists():
        return ""
    whole = here.resolve().parent if (here / "partition").exists() else here
    return (whole / "dev").read_text().strip()


def apparmor_profile(sys: Path = Path("/sys")) -> str:
    """The profile that runs get here: ours, where AppArmor is on and has it loaded; empty otherwise."""
    try:
        on = (sys / "module/apparmor/parameters/enabled").read_text().strip() == "Y"
        loaded = (sys / "kernel/security/apparmor/profiles").read_text() if on else ""
    except OSError:
        return ""
    return _PROFILE if any(line.split(" ")[0] == _PROFILE for line in loaded.splitlines()) else ""


def _network(found: Host, rules: Policy) -> Host:
    """With what runs' networks need here; without, where they can't have one."""
    if not rules.network or found.netns is None:
        return found
    why = interface.unavailable(rules.network, found.netns)
    if why:
        print(f"edge-launcher: runs have no network here: {why}", file=sys.stderr, flush=True)  # noqa: T201 stderr is the journal
        return found
    return replace(
        found,
        facts=replace(found.facts, network=True),
        router=interface.router(found.netns, network.marker(found.places)),
        forwarding=network.marker(found.places).exists(),
        ipv6=interface.ipv6(),
    )


def discover(
    places: Places, rules: Policy, *, cgroup_name: str, runtime: str, netns: str, proc: Path = Path("/proc")
) -> Host:
    """`netns` is where the host's side of runs' networks lives; empty for our own.

    Raises LauncherError(host): what is missing, and what to do.
    """
    tree = cgroup.find(cgroup_name, (proc / "self/mountinfo").read_text(), (proc / "self/cgroup").read_text())
    chosen = choose_runtime(runtime, crun_refuses=_crun_refuses(tree), find=_binary)
    release = os.uname().release
    state = next(path for path in (places.state_dir, *places.state_dir.parents) if path.exists())
    disk = os.statvfs(state)
    profile = apparmor_profile()
    facts = HostFacts(
        runtime=chosen.name,
        runtime_version=_version(chosen),
        cgroup=tree.kind,
        memory_controller=cgroup.has_memory_controller(tree),
        cpus=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        boot_id=(proc / "sys/kernel/random/boot_id").read_text().strip(),
        disk_bytes=disk.f_blocks * disk.f_frsize,
        apparmor=bool(profile),
        idmap=idmap.supported(release),
        max_runs=rules.max_runs,
        mqtt=rules.mqtt_dir is not None,
    )
    found = Host(
        facts=facts,
        machine=os.uname().machine,
        runtime=chosen,
        conmon=_required("conmon"),
        init=_required("catatonit"),
        tree=tree,
        places=places,
        etc=tuple(path for path in _ETC if path.exists()),
        netns=Path(netns or f"/proc/{os.getpid()}/ns/net"),
        noswap=kernel_is(release, 6, 4),
        apparmor=profile,
        mqtt_dir=rules.mqtt_dir,
        state_device=disk_of(state),
        network=rules.network or USUAL_NETWORK,  # runs of a launcher that had one may be there
    )
    return _network(found, rules)
