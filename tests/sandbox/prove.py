"""Runs probes on a ground and judges them from outside: what they said, and what the neighbour and the host felt."""

import os
import re
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.sandbox import pack
from tests.sandbox.grounds import Ground, Ran
from tests.sandbox.probes.verdict import Probe

SECONDS = 40.0  # for all probes of one job; then it is stopped
_LOG_CAP = 2 << 20  # bytes that a flood may leave on the disk of the host
_GIB = 1 << 30


@dataclass(frozen=True)
class Lateness:
    """Of the neighbour's wake-ups, each 5 ms, in microseconds."""

    median: float
    p99: float
    beats: int


@dataclass(frozen=True)
class Result:
    probe: Probe
    verdict: str  # "held: ...", "ESCAPED: ...", "measured: ..." or "BROKEN: ..."
    before: Lateness  # the neighbour since its start
    during: Lateness  # the neighbour beside this probe's job
    complaints: tuple[str, ...]  # of the neighbour and the host, after it

    @property
    def word(self) -> str:
        return self.verdict.split(":", 1)[0]


def lateness(beats: list[list[int]]) -> Lateness:
    samples = sorted(sample for beat in beats for sample in beat) or [0]
    return Lateness(statistics.median(samples), samples[int(len(samples) * 0.99)], len(beats))


def beats(said: str) -> list[list[int]]:
    """Of the neighbour's log; the line that is being written is left out."""
    return [[int(word) for word in line.split()[1:]] for line in said.split("\n")[:-1] if line.startswith("beat ")]


def judged(probe: Probe, ran: Ran) -> str:
    """What the probe said; what its end says when it could say nothing any more."""
    said = ran.verdicts().get(probe.name)
    if said is None and ran.oom_killed:
        return "held: the whole run was ended, out of its memory"
    if said is None:
        return f"BROKEN: exit code {ran.exit_code}, {ran.text[-200:]!r}"
    if probe.name == "log-flood" and said.startswith("measured"):
        word = "held" if ran.log_bytes <= _LOG_CAP else "ESCAPED"
        return (
            f"{word}: {said.removeprefix('measured: ')}, {max(1, ran.log_bytes // 1000):,} kB of it on the host's disk"
        )
    return said


@dataclass(frozen=True)
class Host:
    """What a probe may not take from the host for good, as far as one can tell on a machine with others on it."""

    free_memory: int
    free_disk: int
    free_terminals: int
    open_files: int

    def complaints(self, after: "Host") -> list[str]:
        found: list[str] = []
        if after.free_memory < self.free_memory - _GIB:
            found.append(f"{(self.free_memory - after.free_memory) >> 20} MiB of memory are gone")
        if after.free_disk < self.free_disk - _GIB:
            found.append(f"{(self.free_disk - after.free_disk) >> 20} MiB of disk are gone")
        if after.free_terminals < self.free_terminals - 256:
            found.append("terminals are gone")
        if after.open_files > self.open_files + 20_000:
            found.append("open files are left")
        return found


def look() -> Host:
    memory = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    assert memory is not None
    disk = os.statvfs("/var/tmp")
    terminals = int(Path("/proc/sys/kernel/pty/max").read_text()) - int(Path("/proc/sys/kernel/pty/nr").read_text())
    files = int(Path("/proc/sys/fs/file-nr").read_text().split()[0])
    return Host(int(memory[1]) * 1024, disk.f_bavail * disk.f_frsize, terminals, files)


def _can_start() -> list[str]:
    begin = time.monotonic()
    subprocess.run(["/usr/bin/true"], check=True)
    took = time.monotonic() - begin
    return [f"the host needs {took:.1f} s to start a process"] if took > 2 else []


@dataclass
class Proof:
    """Runs what is asked for once; remembers."""

    ground: Ground
    done: dict[str, Result] = field(default_factory=dict[str, Result])

    def of(self, file: str, probe: Probe, probes: list[Probe]) -> Result:
        """`probes` are all of the file: most files' probes share a job."""
        if probe.name not in self.done:
            self._run(file, [probe] if file in pack.ALONE else probes)
        return self.done[probe.name]

    def _run(self, file: str, probes: list[Probe]) -> None:
        host, so_far = look(), self._beats(1)
        ran = self.ground.run(pack.argv(file, [probe.name for probe in probes]), SECONDS, file)
        # One more, all of it after the run: the neighbour answers.
        ended = len(beats(self.ground.neighbour_said()))
        since = self._beats(ended + 2)
        complaints = (*self.ground.complaints(), *host.complaints(look()), *_can_start())
        if len(since) < ended + 2:
            complaints = (*complaints, "the neighbour is silent")
        before, during = lateness(so_far), lateness(since[len(so_far) :])
        for probe in probes:
            self.done[probe.name] = Result(probe, judged(probe, ran), before, during, complaints)

    def _beats(self, least: int) -> list[list[int]]:
        """Of the neighbour, when there are so many or it has been silent for too long."""
        deadline = time.monotonic() + 5
        while len(found := beats(self.ground.neighbour_said())) < least and time.monotonic() < deadline:
            time.sleep(0.05)
        return found
