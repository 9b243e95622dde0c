"""A launcher without a launcher: runs are objects that the test ends. Words and errors of agent.sandbox.Sandbox."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.errors import AwayError, RefusedError
from agent.sandbox import (
    Checked,
    DiskState,
    HostFacts,
    ImageState,
    JobRequest,
    Phase,
    Reach,
    RunState,
    Usage,
)


@dataclass
class FakeRun:
    request: JobRequest
    state: RunState
    log: Path
    usage: Usage
    watchers: list[int] = field(default_factory=list)
    checks: list[Checked] = field(default_factory=list)  # answered in turn; the last one for ever
    reach: Reach | None = None  # the last one given


class FakeSandbox:
    """Outlives the service under test, like the launcher does. `calls` is everything asked, in order."""

    def __init__(self, directory: Path, *, cpus: int = 8, memory_bytes: int = 16 << 30, wall_nano: int = 1_000) -> None:
        self.facts = HostFacts(
            "crun",
            "1",
            "v2",
            True,
            cpus,
            memory_bytes,
            "boot-1",
            disk_bytes=64 << 30,
            network=True,
            idmap=True,
            mqtt=True,
        )
        self.stored: dict[str, ImageState] = {}  # an image that isn't here is absent
        self.kept: dict[tuple[str, str], DiskState] = {}
        self.checked: Checked = Checked(True, "")  # for runs without `checks` of their own
        self.runs: dict[str, FakeRun] = {}
        self.calls: list[tuple[str, str]] = []
        self.away = False
        self.refuse_start: RefusedError | None = None
        self.deaf: set[str] = set()  # runs that ignore TERM
        self.on_call: Callable[[str, str], Any] = lambda op, run: None
        self.wall_nano = wall_nano
        self.first_usage = Usage(0, 0, 0, 1, 0)
        self._directory = directory
        self._next_pid = 1000

    # --- the test's side ---

    def end(self, run: str, exit_code: int = 0, *, oom: bool = False, phase: Phase = "ended") -> None:
        found = self.runs[run]
        found.state = replace(
            found.state,
            phase=phase,
            pid=0,
            exit_code=exit_code if phase == "ended" else None,
            oom_killed=oom,
            ended_unix_nano=self.wall_nano,
        )
        for writer in found.watchers:
            os.close(writer)  # the reader becomes readable, like a pidfd
        found.watchers.clear()

    def starts(self) -> list[str]:
        """Runs that were really started, each time."""
        return [run for op, run in self.calls if op == "started"]

    # --- the launcher's side ---

    def _called(self, op: str, run: str = "") -> None:
        if self.away:
            raise AwayError("launcher is away")
        self.calls.append((op, run))
        self.on_call(op, run)

    def _find(self, run: str) -> FakeRun:
        if run not in self.runs:
            raise RefusedError("NOT_FOUND", f"no run {run}")
        return self.runs[run]

    async def hello(self) -> HostFacts:
        self._called("hello")
        return self.facts

    async def start(self, request: JobRequest) -> RunState:
        self._called("start", request.run)
        if self.refuse_start is not None:
            raise self.refuse_start
        found = self.runs.get(request.run)
        if found is not None and found.state.phase == "held":
            if found.request == request:
                self.calls.append(("started", request.run))
                found.state = replace(found.state, phase="running", started_unix_nano=self.wall_nano)
                return found.state
            self.runs.pop(request.run)
        if request.run not in self.runs:
            self.calls.append(("started", request.run))
            self._make(request, "running")
        return self.runs[request.run].state

    async def hold(self, request: JobRequest) -> RunState:
        self._called("hold", request.run)
        if self.refuse_start is not None:
            raise self.refuse_start
        if request.disk_bytes or (request.network and request.network.publish):
            raise RefusedError(
                "PERMISSION_DENIED", "a disk and a port are of one run at a time: not of one that is held"
            )
        if request.run not in self.runs:
            self._make(request, "held")
        return self.runs[request.run].state

    def _make(self, request: JobRequest, phase: Phase) -> None:
        if request.image != "host" and self._image(request.image).state != "ready":
            raise RefusedError("NOT_FOUND", f"image {request.image} is not ready")
        self._next_pid += 1
        state = RunState(request.run, request.tenant, phase, self._next_pid, None, False, self.wall_nano, 0)
        log = self._directory / f"{request.run}.log"
        log.write_bytes(b"")
        reach = request.network.reach if request.network else None
        self.runs[request.run] = FakeRun(request, state, log, self.first_usage, reach=reach)
        if request.disk_bytes:
            owner = (request.tenant, request.job)
            had = self.kept.get(owner, DiskState(*owner, 0)).disk_bytes
            self.kept[owner] = DiskState(*owner, max(request.disk_bytes, had))

    async def list_runs(self) -> tuple[RunState, ...]:
        self._called("list")
        return tuple(run.state for run in self.runs.values())

    async def state(self, run: str) -> RunState:
        self._called("state", run)
        return self._find(run).state

    async def watch(self, run: str) -> tuple[RunState, int | None]:
        self._called("watch", run)
        found = self._find(run)
        if found.state.phase not in ("running", "held"):
            return found.state, None
        reader, writer = os.pipe()
        found.watchers.append(writer)
        return found.state, reader

    async def signal(self, run: str, name: str) -> None:
        self._called(f"signal {name}", run)
        if self._find(run).state.phase == "running" and (name == "KILL" or run not in self.deaf):
            self.end(run, 128 + signal.Signals[f"SIG{name}"])

    async def check(self, run: str) -> Checked:
        self._called("check", run)
        found = self._find(run)
        if found.request.check is None or found.state.phase != "running":
            raise RefusedError("CONFLICT", f"run {run} has no check")
        if not found.checks:
            return self.checked
        return found.checks.pop(0) if len(found.checks) > 1 else found.checks[0]

    async def reach(self, run: str, reach: Reach) -> None:
        self._called("reach", run)
        found = self._find(run)
        if found.request.network is None:
            raise RefusedError("CONFLICT", f"run {run} has no network")
        found.reach = reach

    async def usage(self, run: str) -> Usage:
        self._called("usage", run)
        return self._find(run).usage

    async def open_log(self, run: str) -> int:
        self._called("logs", run)
        return os.open(self._find(run).log, os.O_RDONLY)

    async def remove(self, run: str) -> None:
        self._called("remove", run)
        if self._find(run).state.phase == "running":
            raise RefusedError("CONFLICT", f"run {run} is running")
        self.runs.pop(run).log.unlink()

    def _image(self, image: str) -> ImageState:
        return self.stored.get(image, ImageState(image, "absent"))

    async def image(self, image: str) -> ImageState:
        self._called("image", image)
        return self._image(image)

    async def images(self) -> tuple[ImageState, ...]:
        self._called("images")
        return tuple(self.stored.values())

    async def remove_image(self, image: str) -> None:
        self._called("remove-image", image)
        if any(run.request.image == image and run.state.phase in ("running", "held") for run in self.runs.values()):
            raise RefusedError("CONFLICT", f"image {image} is in use")
        self.stored.pop(image, None)

    async def disks(self) -> tuple[DiskState, ...]:
        self._called("disks")
        return tuple(self.kept.values())

    async def remove_disk(self, tenant: str, job: str) -> None:
        self._called("remove-disk", f"{tenant}/{job}")
        used = (run.request for run in self.runs.values() if run.state.phase in ("running", "held"))
        if any((one.tenant, one.job) == (tenant, job) and one.disk_bytes for one in used):
            raise RefusedError("CONFLICT", f"the disk of {tenant}/{job} is in use")
        self.kept.pop((tenant, job), None)
