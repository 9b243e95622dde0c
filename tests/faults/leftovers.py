"""What a launcher may have left on a machine: looked for, not asked for."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

# All ranges of user ids that runs and images get: https://systemd.io/UIDS-GIDS, agent/launcher/layout.py.
UIDS = range(0x7000_0000, 0x7000_0000 + 65536 * 1024)


def leftovers(state_dir: Path, run_dir: Path, cgroup: str) -> list[str]:
    """Everything found, a line each; empty is good."""
    return [
        *_cgroups(cgroup),
        *_processes(cgroup),
        *_mounts(state_dir, run_dir),
        *_loops(state_dir),
        *_links(),
        *_tables(),
    ]


def _cgroups(cgroup: str) -> Iterator[str]:
    for top in {*Path("/sys/fs/cgroup").glob(f"*/{cgroup}"), Path("/sys/fs/cgroup") / cgroup}:
        yield from (f"cgroup {path}" for path in top.glob("run-*"))


def _processes(cgroup: str) -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status, groups = (path / "status").read_text(), (path / "cgroup").read_text()
            name = (path / "comm").read_text().strip()
        except OSError:
            continue
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if fields["State"].startswith("Z"):
            continue
        if f"/{cgroup}/" in groups or int(fields["Uid"].split()[0]) in UIDS:
            yield f"process {path.name} {name}"


def _mounts(state_dir: Path, run_dir: Path) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4]
        if place.startswith((f"{state_dir}/", f"{run_dir}/")) and "/images/" not in place:
            yield f"mount {place}"


def _loops(state_dir: Path) -> Iterator[str]:
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        backing = path.read_text().strip()
        if backing.startswith(f"{state_dir}/") and "/images/" not in backing:
            yield f"loop device {path.parts[3]} on {backing}"


def _links() -> Iterator[str]:
    for path in Path("/sys/class/net").glob("ej*"):
        yield f"interface {path.name}"


def _tables() -> Iterator[str]:
    listed = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        if line.strip().startswith("chain run"):
            yield f"nft {line.strip()}"
