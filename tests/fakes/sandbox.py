"""A launcher without a launcher: runs are objects that the test ends. Words and errors of agent.sandbox.Sandbox."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.errors import AwayError, RefusedError
from agent.sandbox import HostFacts, JobRequest, RunState, Usage


@dataclass
class FakeRun:
    request: JobRequest
    state: RunState
    log: Path
    usage: Usage = field(default_factory=lambda: Usage(0, 0, 0, 1, 0))
    watchers: list[int] = field(default_factory=list)


class FakeSandbox:
    """Outlives the service under test, like the launcher does. `calls` is everything asked, in order."""

    def __init__(self, directory: Path, *, cpus: int = 8, memory_bytes: int = 16 << 30, wall_nano: int = 1_000) -> None:
        self.facts = HostFacts("crun", "1", "v2", True, cpus, memory_bytes, "boot-1")
        self.runs: dict[str, FakeRun] = {}
        self.calls: list[tuple[str, str]] = []
        self.away = False
        self.refuse_start: RefusedError | None = None
        self.deaf: set[str] = set()  # runs that ignore TERM
        self.on_call: Callable[[str, str], Any] = lambda op, run: None
        self.wall_nano = wall_nano
        self._directory = directory
        self._next_pid = 1000

    # --- the test's side ---

    def end(self, run: str, exit_code: int = 0, *, oom: bool = False, phase: str = "ended") -> None:
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
        if request.run not in self.runs:
            self.calls.append(("started", request.run))
            self._next_pid += 1
            state = RunState(request.run, request.tenant, "running", self._next_pid, None, False, self.wall_nano, 0)
            log = self._directory / f"{request.run}.log"
            log.write_bytes(b"")
            self.runs[request.run] = FakeRun(request, state, log)
        return self.runs[request.run].state

    async def list_runs(self) -> tuple[RunState, ...]:
        self._called("list")
        return tuple(run.state for run in self.runs.values())

    async def state(self, run: str) -> RunState:
        self._called("state", run)
        return self._find(run).state

    async def watch(self, run: str) -> tuple[RunState, int | None]:
        self._called("watch", run)
        found = self._find(run)
        if found.state.phase != "running":
            return found.state, None
        reader, writer = os.pipe()
        found.watchers.append(writer)
        return found.state, reader

    async def signal(self, run: str, name: str) -> None:
        self._called(f"signal {name}", run)
        if self._find(run).state.phase == "running" and (name == "KILL" or run not in self.deaf):
            self.end(run, 137 if name == "KILL" else 143)

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
