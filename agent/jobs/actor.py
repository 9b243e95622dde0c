"""Obeys the book: asks the launcher for what was decided, and says what came of it. Never decides anything itself.

The commands of one job are obeyed in order, those of different jobs side by side. While the launcher is away, or this
box has no disk left for it, a command is tried again until it is answered: all of them are idempotent.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from agent.clock import Clock
from agent.errors import AwayError, RefusedError, StorageError
from agent.jobs.job import (
    Action,
    Event,
    Exited,
    ImageGone,
    Kill,
    LostRun,
    Prepare,
    RemoveDisk,
    RemoveRun,
    Started,
    StartFailed,
    StartRun,
    Stop,
    WatchRun,
)
from agent.jobs.metering import Reading
from agent.jobs.reaches import Reaches
from agent.jobs.request import job_request
from agent.jobs.warm import Hold
from agent.sandbox import Reach, RunState, Sandbox, Signal
from agent.spec import HOST_IMAGE, JobSpec, Secret

log = logging.getLogger(__name__)

_AT_ONCE = 4  # requests to the launcher; it has two cores like this box, and a start is mostly its CPU time
_RETRY_SECONDS = 0.2
_RETRY_MAX_SECONDS = 5.0
_NAMES_SECONDS = 2.0  # a start waits so long for names that were never resolved; what comes later is added
_NANO = 1_000_000_000

# Told of each thing that happened to a run, with its last reading once it is over.
Post = Callable[[str, Event, Reading | None], None]
# (run, spec) -> what the run gets beside its own secrets, by name. Raises as Unseal does.
Grant = Callable[[str, JobSpec], Awaitable[Mapping[str, bytes]]]
# (tenant, job, its secrets) -> content by name. Raises RefusedError, AwayError, StorageError.
Unseal = Callable[[str, str, Sequence[Secret]], Awaitable[Mapping[str, bytes]]]
Order = Action | Hold


class Actor:
    def __init__(
        self,
        sandbox: Sandbox,
        clock: Clock,
        post: Post,
        *,
        still_wanted: Callable[[str, str], bool],
        reaches: Reaches,
        unseal: Unseal,
        grant: Grant,
    ) -> None:
        """`still_wanted(job, run)` says whether a run that waits to be started or held should still be."""
        self._sandbox = sandbox
        self._clock = clock
        self._post = post
        self._still_wanted = still_wanted
        self._reaches = reaches
        self._unseal = unseal
        self._grant = grant
        self._queue = asyncio.Queue[tuple[str, Order]]()
        self._lanes: dict[str, deque[Order]] = {}
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._holding = asyncio.Semaphore(1)  # what is made ahead never keeps what is wanted now from a slot
        self._held: dict[str, Reach] = {}
        self._watched: dict[str, int] = {}

    def submit(self, job_id: str, action: Order) -> None:
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
            usage.network_receive_bytes,
            usage.network_transmit_bytes,
            usage.disk_bytes,
        )

    async def _drain(self, job_id: str, lane: deque[Order]) -> None:
        while lane:
            await self._insist(job_id, lane[0])
            lane.popleft()
            self._queue.task_done()
        del self._lanes[job_id]

    async def _insist(self, job_id: str, action: Order) -> None:
        before = ""
        if isinstance(action, StartRun):
            await self._reaches.learn(action.spec, _NAMES_SECONDS)
            before = action.before
        wait = _RETRY_SECONDS
        while True:
            try:
                if isinstance(action, Hold):
                    return await self._hold(job_id, action)
                async with self._free:  # not while it waits: a stop that frees the disk must pass a start that needs it
                    return await self._obey(job_id, action)
            except (AwayError, StorageError) as error:
                if wait == _RETRY_SECONDS:
                    # By name and run: the spec has what the tenant wrote, which is nobody's in a log.
                    said = {"action": type(action).__name__, "run": getattr(action, "run", ""), "error": str(error)}
                    log.warning("launcher can't", extra={"job": job_id, **said})
            finally:
                if before:  # once, beside this lane: a start that lacks room may be waiting for just this
                    self.submit(f"{job_id} before", RemoveRun(before))
                    before = ""
            await asyncio.sleep(wait)
            wait = min(_RETRY_MAX_SECONDS, wait * 2)

    async def _obey(self, job_id: str, action: Action) -> None:
        match action:
            case StartRun(run=run, spec=spec, image=image):
                if self._still_wanted(job_id, run):
                    await self._start(job_id, run, spec, image)
                else:  # an earlier try may have started it, and its answer been lost
                    await self._watch(job_id, run)
            case WatchRun(run=run):
                await self._watch(job_id, run)
            case Stop(run=run, signal=signal):
                await self._signal(job_id, run, signal)
            case Kill(run=run):
                await self._signal(job_id, run, "KILL")
            case RemoveRun(run=run):
                await self._remove(job_id, run)
            case RemoveDisk(tenant=tenant, job=job):
                await self._remove_disk(tenant, job)
            case Prepare():
                raise AssertionError("images are prepare.py's")

    async def _start(self, job_id: str, run: str, spec: JobSpec, image: str) -> None:
        reach = self._reaches.now(spec)
        if not reach.cut:
            reach = self._held.get(run, reach)  # the very same request; what has changed since follows at once
        try:
            secrets = await self._secrets(run, spec)
        except RefusedError as error:
            self._post(job_id, StartFailed(run, str(error), self._clock.seconds()), None)
            return
        try:
            state = await self._sandbox.start(job_request(run, spec, image, reach, secrets))
        except RefusedError as error:
            self._post_refused(job_id, run, image, error)
            return
        self._held.pop(run, None)
        self._reaches.given(run, reach)
        self._post_started(job_id, state)

    async def _secrets(self, run: str, spec: JobSpec) -> Mapping[str, bytes]:
        own = await self._unseal(spec.tenant, spec.id, spec.secrets)
        return {**own, **await self._grant(run, spec)}

    def _post_refused(self, job_id: str, run: str, image: str, error: RefusedError) -> None:
        at = self._clock.seconds()
        match error.reason:
            case "NO_ROOM" | "CONFLICT":  # it passes when other runs end: one still has the port or the disk
                raise AwayError(str(error)) from error
            case "NOT_FOUND" if image != HOST_IMAGE:
                self._post(job_id, ImageGone(run, at), None)
            case _:
                self._post(job_id, StartFailed(run, str(error), at), None)

    async def _hold(self, job_id: str, order: Hold) -> None:
        """Once, for what it is worth: a start finds out for itself whether there is something."""
        async with self._holding, self._free:
            if not self._still_wanted(job_id, order.run):
                return
            spec, reach = order.spec, self._reaches.now(order.spec)
            try:
                secrets = await self._secrets(order.run, spec)
                await self._sandbox.hold(job_request(order.run, spec, order.image, reach, secrets))
            except (RefusedError, AwayError, StorageError) as error:
                log.info("no sandbox made ahead", extra={"run": order.run, "error": str(error)})
            else:
                self._held[order.run] = reach

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
        if state.started_unix_nano:
            self._post_started(job_id, state)  # known already, unless the agent went before it was told: then billed
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
        return replace(reading, boottime_nano=self._boottime_of(ended), wall_nano=ended, memory_bytes=None)

    def _boottime_of(self, wall_nano: int) -> int:
        """When the wall clock showed `wall_nano`, as far as the present difference between the clocks tells."""
        return max(0, self._clock.boottime_nano() - max(0, self._clock.wall_nano() - wall_nano))

    async def _signal(self, job_id: str, run: str, signal: str) -> None:
        try:
            await self._sandbox.signal(run, cast("Signal", signal))
        except RefusedError as error:
            self._post_lost(job_id, run, error)

    def _post_lost(self, job_id: str, run: str, error: RefusedError) -> None:
        """Lost is only what the launcher says it doesn't know; any other refusal may pass."""
        if error.reason != "NOT_FOUND":
            raise AwayError(str(error)) from error
        self._post(job_id, LostRun(run, self._clock.seconds()), None)

    async def _remove(self, job_id: str, run: str) -> None:
        self._held.pop(run, None)
        try:
            await self._sandbox.remove(run)
        except RefusedError as error:
            if error.reason != "NOT_FOUND":
                log.warning("run not removed", extra={"job": job_id, "run": run, "error": str(error)})

    async def _remove_disk(self, tenant: str, job: str) -> None:
        try:
            await self._sandbox.remove_disk(tenant, job)
        except RefusedError as error:
            if error.reason == "CONFLICT":
                raise AwayError(str(error)) from error  # a run that ends a moment later
            if error.reason != "NOT_FOUND":
                log.warning("disk not removed", extra={"tenant": tenant, "job": job, "error": str(error)})
