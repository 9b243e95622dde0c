"""Health checks of running services, each at its interval. A slow check delays nobody's but its own next."""

import asyncio
import heapq
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from agent.clock import Clock
from agent.errors import AwayError, RefusedError, StorageError
from agent.jobs.health import Tally, count
from agent.jobs.job import Healthy, Job, Unhealthy
from agent.model import Health, JobState
from agent.sandbox import Sandbox

log = logging.getLogger(__name__)

_AT_ONCE = 16
_OF_A_TENANT = 4  # a tenant whose checks hang holds up its own
_FIRST_SECONDS = 0.5  # then doubled up to the interval: a service that is up soon is found healthy soon

Post = Callable[[str, Healthy | Unhealthy], None]


@dataclass(slots=True)
class _Watched:
    job_id: str
    tenant: str
    tally: Tally
    wait: float


class Checks:
    def __init__(self, sandbox: Sandbox, clock: Clock, post: Post) -> None:
        self._sandbox = sandbox
        self._clock = clock
        self._post = post
        self._watched: dict[str, _Watched] = {}  # by run
        self._runs: dict[str, str] = {}  # job -> run
        self._due: list[tuple[float, str]] = []  # a heap; a run that is watched no more is passed over
        self._changed = asyncio.Event()
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._tenants: dict[str, asyncio.Semaphore] = {}

    def follow(self, job_id: str, job: Job | None) -> None:
        """The job has changed; None = it is forgotten."""
        run = job.run if job is not None and job.state is JobState.RUNNING and job.spec.health is not None else ""
        before = self._runs.get(job_id, "")
        if run == before:
            return
        if before:
            del self._watched[before]
            del self._runs[job_id]
        if job is not None and job.spec.health is not None and run:
            health = Health.HEALTHY if job.health is Health.HEALTHY else Health.STARTING
            began_at = job.starts[-1] if job.starts else self._clock.seconds()
            tally = Tally(run, job.spec.health, began_at, health)
            self._runs[job_id] = run
            self._watched[run] = _Watched(job_id, job.spec.tenant, tally, min(_FIRST_SECONDS, _interval(tally)))
            self._schedule(run)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                now = self._clock.seconds()
                while self._due and self._due[0][0] <= now:
                    _, run = heapq.heappop(self._due)
                    if run in self._watched:
                        group.create_task(self._check(run), name=f"jobs.check.{run}")
                self._changed.clear()
                wait = self._due[0][0] - now if self._due else None
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()

    def _schedule(self, run: str) -> None:
        watched = self._watched[run]
        heapq.heappush(self._due, (self._clock.seconds() + watched.wait, run))
        settled = watched.tally.health is not Health.STARTING
        watched.wait = _interval(watched.tally) if settled else min(_interval(watched.tally), watched.wait * 2)
        self._changed.set()

    async def _check(self, run: str) -> None:
        watched = self._watched[run]
        async with self._tenants.setdefault(watched.tenant, asyncio.Semaphore(_OF_A_TENANT)), self._free:
            if self._watched.get(run) is not watched:
                return
            try:
                checked = await self._sandbox.check(run)
            except (AwayError, StorageError, RefusedError) as error:
                # Nobody has looked: that says nothing about the job. A run that is gone is told by its watcher.
                log.debug("not checked", extra={"run": run, "error": str(error)})
                checked = None
        if self._watched.get(run) is not watched:
            return
        if checked is not None:
            watched.tally, told = count(watched.tally, checked.healthy, checked.message, self._clock.seconds())
            if told is not None:
                self._post(watched.job_id, told)
        self._schedule(run)


def _interval(tally: Tally) -> float:
    return float(tally.check.interval_seconds)
