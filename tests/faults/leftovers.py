"""What a launcher may have left on a machine: looked for, not asked for."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

# All ranges of user ids that runs and images get: https://systemd.io/UIDS-GIDS, agent/launcher/layout.py.
UIDS = range(0x7000_0000, 0x7000_0000 + 65536 * 1024)


def leftovers(state_dir: Path, run_dir: Path, cgroup: str, netns: Path) -> list[str]:
    """Everything found, a line each; empty is good."""
    return [
        *_cgroups(cgroup),
        *_processes(cgroup),
        *_mounts(state_dir, run_dir),
        *_loops(state_dir),
        *_links(netns),
        *_tables(netns),
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
        stray = int(fields["Uid"].split()[0]) in UIDS and "/run-" not in groups  # not another launcher's
        if f"/{cgroup}/" in groups or stray:
            yield f"process {path.name} {name}"


def _mounts(state_dir: Path, run_dir: Path) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4]
        if place.startswith((f"{state_dir}/", f"{run_dir}/launcher/")):
            yield f"mount {place}"


def _loops(state_dir: Path) -> Iterator[str]:
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        backing = path.read_text().strip()
        if backing.startswith(f"{state_dir}/"):
            yield f"loop device {path.parts[3]} on {backing}"


def _links(netns: Path) -> Iterator[str]:
    for line in _in(netns, "ip", "-br", "link").splitlines():
        if line.split()[0] != "lo":
            yield f"interface {line}"


def _tables(netns: Path) -> Iterator[str]:
    """Chains of runs: each has its slot in its name."""
    for line in _in(netns, "nft", "list", "ruleset").splitlines():
        if re.search(r"chain \w+_\d+ ", line):
            yield f"nft {line.strip()}"


def _in(netns: Path, *argv: str) -> str:
    return subprocess.run(["nsenter", f"--net={netns}", "--", *argv], capture_output=True, text=True, check=True).stdout
