"""Obeys the book: asks the launcher for what was decided, and says what came of it. Never decides anything itself.

The commands of one job are obeyed in order, those of different jobs side by side. While the launcher is away, or this
box has no disk left for it, a command is tried again until it is answered: all of them are idempotent.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from functools import partial

from agent.clock import Clock
from agent.errors import AwayError, RefusedError, StorageError
from agent.jobs.job import (
    Action,
    Exited,
    Kill,
    LostRun,
    RemoveRun,
    RunEvent,
    Started,
    StartFailed,
    StartRun,
    Term,
    WatchRun,
)
from agent.jobs.metering import Reading
from agent.sandbox import JobRequest, RunState, Sandbox, Signal
from agent.spec import JobSpec

log = logging.getLogger(__name__)

_AT_ONCE = 4  # requests to the launcher; it has two cores like this box, and a start is mostly its CPU time
_RETRY_SECONDS = 0.2
_RETRY_MAX_SECONDS = 5.0
_NANO = 1_000_000_000

# Told of each thing that happened to a run, with its last reading once it is over.
Post = Callable[[str, RunEvent, Reading | None], None]


class Actor:
    def __init__(self, sandbox: Sandbox, clock: Clock, post: Post, still_wanted: Callable[[str, str], bool]) -> None:
        """`still_wanted(job, run)` says whether a run that waits to be started should still be started."""
        self._sandbox = sandbox
        self._clock = clock
        self._post = post
        self._still_wanted = still_wanted
        self._queue = asyncio.Queue[tuple[str, Action]]()
        self._lanes: dict[str, deque[Action]] = {}
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._watched: dict[str, int] = {}

    def submit(self, job_id: str, action: Action) -> None:
        self._queue.put_nowait((job_id, action))

    async def settled(self) -> None:
        """Returns when everything submitted so far was obeyed."""
        await self._queue.join()

    async def run(self) -> None:
        """Until cancelled. The runs are left as they are: they outlive the agent."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    job_id, action = await self._queue.get()
                    lane = self._lanes.setdefault(job_id, deque())
                    lane.append(action)
                    if len(lane) == 1:
                        group.create_task(self._drain(job_id, lane), name=f"jobs.act.{job_id}")
        finally:
            for run in tuple(self._watched):
                self._unwatch(run)

    async def read(self, run: str) -> Reading | None:
        """The run's counters now; None if the launcher no longer holds it. Raises AwayError, StorageError."""
        try:
            usage = await self._sandbox.usage(run)
        except RefusedError:
            return None
        return Reading(
            self._clock.boottime_nano(),
            self._clock.wall_nano(),
            usage.cpu_nano,
            usage.memory_bytes,
            usage.memory_peak_bytes,
        )

    async def discard(self, state: RunState) -> None:
        """End and remove a run that belongs to no job; repeatable. Raises AwayError, StorageError, RefusedError."""
        try:
            while state.phase == "running":
                await self._sandbox.signal(state.run, "KILL")
                await asyncio.sleep(_RETRY_SECONDS)
                state = await self._sandbox.state(state.run)
            await self._sandbox.remove(state.run)
        except RefusedError as error:
            if error.reason != "NOT_FOUND":
                raise

    async def _drain(self, job_id: str, lane: deque[Action]) -> None:
        while lane:
            await self._insist(job_id, lane[0])
            lane.popleft()
            self._queue.task_done()
        del self._lanes[job_id]

    async def _insist(self, job_id: str, action: Action) -> None:
        wait = _RETRY_SECONDS
        while True:
            try:
                async with self._free:  # not while it waits: a stop that frees the disk must pass a start that needs it
                    return await self._obey(job_id, action)
            except (AwayError, StorageError) as error:
                if wait == _RETRY_SECONDS:
                    log.warning("launcher can't", extra={"job": job_id, "action": action, "error": str(error)})
            await asyncio.sleep(wait)
            wait = min(_RETRY_MAX_SECONDS, wait * 2)

    async def _obey(self, job_id: str, action: Action) -> None:
        match action:
            case StartRun(run=run, spec=spec):
                if self._still_wanted(job_id, run):
                    await self._start(job_id, run, spec)
            case WatchRun(run=run):
                await self._watch(job_id, run)
            case Term(run=run):
                await self._signal(job_id, run, "TERM")
            case Kill(run=run):
                await self._signal(job_id, run, "KILL")
            case RemoveRun(run=run):
                await self._remove(job_id, run)

    async def _start(self, job_id: str, run: str, spec: JobSpec) -> None:
        try:
            state = await self._sandbox.start(_request(run, spec))
        except RefusedError as error:
            if error.reason == "NO_ROOM":
                raise AwayError(str(error)) from error  # it passes when other runs are removed
            self._post(job_id, StartFailed(run, str(error), self._clock.seconds()), None)
            return
        self._post_started(job_id, state)

    def _post_started(self, job_id: str, state: RunState) -> None:
        began = self._boottime_of(state.started_unix_nano) / _NANO
        self._post(job_id, Started(state.run, state.pid, state.started_unix_nano, began), None)

    async def _watch(self, job_id: str, run: str) -> None:
        if run in self._watched:
            return
        try:
            state, fd = await self._sandbox.watch(run)
        except RefusedError as error:
            self._post_lost(job_id, run, error)
            return
        if fd is None:
            await self._settle(job_id, state)
            return
        self._watched[run] = fd
        asyncio.get_running_loop().add_reader(fd, partial(self._monitor_ended, job_id, run))

    def _monitor_ended(self, job_id: str, run: str) -> None:
        self._unwatch(run)
        self.submit(job_id, WatchRun(run))  # finds it ended, or is told that it must go on watching

    def _unwatch(self, run: str) -> None:
        fd = self._watched.pop(run)
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)

    async def _settle(self, job_id: str, state: RunState) -> None:
        """The run is over: take its last reading, then tell."""
        if state.phase == "running":
            raise AwayError(f"run {state.run} has no monitor and no end yet")
        reading = await self.read(state.run)
        if reading is not None:
            reading = self._at_the_end(reading, state)
        at = self._clock.seconds()
        if state.phase == "ended" and state.exit_code is not None:
            event = Exited(state.run, state.exit_code, state.oom_killed, state.ended_unix_nano, at)
            self._post(job_id, event, reading)
        else:
            self._post(job_id, LostRun(state.run, at), reading)

    def _at_the_end(self, reading: Reading, state: RunState) -> Reading:
        """The counters stopped when the run ended, which may be long before this reading."""
        ended = state.ended_unix_nano or reading.wall_nano
        return Reading(self._boottime_of(ended), ended, reading.cpu_nano, None, reading.memory_peak_bytes)

    def _boottime_of(self, wall_nano: int) -> int:
        """When the wall clock showed `wall_nano`, as far as the present difference between the clocks tells."""
        return max(0, self._clock.boottime_nano() - max(0, self._clock.wall_nano() - wall_nano))

    async def _signal(self, job_id: str, run: str, signal: Signal) -> None:
        try:
            await self._sandbox.signal(run, signal)
        except RefusedError as error:
            self._post_lost(job_id, run, error)

    def _post_lost(self, job_id: str, run: str, error: RefusedError) -> None:
        """Lost is only what the launcher says it doesn't know; any other refusal may pass."""
        if error.reason != "NOT_FOUND":
            raise AwayError(str(error)) from error
        self._post(job_id, LostRun(run, self._clock.seconds()), None)

    async def _remove(self, job_id: str, run: str) -> None:
        try:
            await self._sandbox.remove(run)
        except RefusedError as error:
            if error.reason != "NOT_FOUND":
                log.warning("run not removed", extra={"job": job_id, "run": run, "error": str(error)})


def _request(run: str, spec: JobSpec) -> JobRequest:
    limits = spec.limits
    return JobRequest(
        run=run,
        tenant=spec.tenant,
        job=spec.id,
        image=spec.image,
        command=spec.command,
        cpu_milli=limits.cpu_milli,
        memory_bytes=limits.memory_bytes,
        pids=limits.pids,
        log_bytes=limits.log_bytes,
        tmp_bytes=min(limits.tmp_bytes, limits.memory_bytes),  # /tmp lives in the job's memory
        env=spec.env,
    )
