"""The same probes in `podman run` with its defaults, and with --privileged: shows that a probe can be let through."""

import contextlib
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.sandbox.grounds import NEIGHBOUR, Ran, plain, town

_LINKS = ("bin", "sbin", "lib", "lib64")


@dataclass
class Podman:
    base: list[str]
    flags: tuple[str, ...]
    numbers: "count[int]" = field(default_factory=count)

    def _ask(self, *words: str, seconds: float = 60) -> str:
        return subprocess.run(
            [*self.base, *words], check=True, capture_output=True, text=True, timeout=seconds
        ).stdout.strip()

    def start(self, name: str, command: tuple[str, ...], flags: tuple[str, ...]) -> None:
        # Limits of files and processes: this machine's root may not raise them, and podman's default is to raise.
        self._ask(
            "run", "--detach", "--name", name, "--log-driver", "k8s-file", *flags,
            "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "-v", "/usr:/usr:ro",
            "-v", "/etc/ld.so.cache:/etc/ld.so.cache:ro", "-v", "/etc/alternatives:/etc/alternatives:ro",
            "probes", *command,
        )  # fmt: skip

    def run(self, command: tuple[str, ...], seconds: float, file: str) -> Ran:
        name = f"probe-{next(self.numbers)}"
        self.start(name, command, self.flags)
        try:
            code: int | None = int(self._ask("wait", name, seconds=seconds))
        except subprocess.TimeoutExpired:
            code = None
        facts = json.loads(self._ask("inspect", name))[0]
        log = Path(facts["HostConfig"]["LogConfig"]["Path"])
        # A flood is read from its end.
        with log.open("rb") as end:
            end.seek(max(0, log.stat().st_size - (1 << 20)))
            text = plain(end.read().decode(errors="replace"))
        ran = Ran(text, code, facts["State"]["OOMKilled"], log.stat().st_size)
        self._ask("rm", "--force", "--time", "0", name)
        return ran

    def neighbour_said(self) -> str:
        facts = json.loads(self._ask("inspect", "neighbour"))[0]
        return plain(Path(facts["HostConfig"]["LogConfig"]["Path"]).read_text())

    def complaints(self) -> list[str]:
        running = self._ask("ps", "--format", "{{.Names}}").split()
        return [] if running == ["neighbour"] else [f"running: {running}"]


def _image(file: Path) -> None:
    """An empty root to bind /usr into, as the 'host' image has it."""
    with tarfile.open(file, "w") as tar:
        for name in ("usr", "etc", "etc/alternatives", "proc", "dev", "sys", "run", "tmp", "work"):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if name in ("tmp", "work") else 0o755
            tar.addfile(member)
        for name in _LINKS:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(member)
        tar.addfile(tarfile.TarInfo("etc/ld.so.cache"))


@contextlib.contextmanager
def podman(*flags: str) -> Generator[Podman]:
    """With storage of its own; `flags` are of the probes' containers, not of the neighbour."""
    with town() as netns, tempfile.TemporaryDirectory(prefix="probes-podman-", dir="/var/tmp") as name:
        # Its bridge and its rules are made where they hurt nobody: in the test's own namespace, without our rules.
        subprocess.run(["nsenter", f"--net={netns}", "nft", "flush", "ruleset"], check=True)
        base = [
            "nsenter", f"--net={netns}", "podman", "--root", f"{name}/root", "--runroot", f"{name}/run",
            "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
        ]  # fmt: skip
        ground = Podman(base, flags)
        _image(Path(name) / "image.tar")
        subprocess.run([*base, "import", f"{name}/image.tar", "probes"], check=True, capture_output=True)
        try:
            ground.start("neighbour", ("/usr/bin/python3", "-c", NEIGHBOUR), ())
            yield ground
        finally:
            subprocess.run([*base, "rm", "--all", "--force", "--time", "0"], check=False, capture_output=True)
            subprocess.run([*base, "rmi", "--all", "--force"], check=False, capture_output=True)
            subprocess.run(["umount", f"{name}/root/overlay"], check=False, capture_output=True)
