"""What running jobs may reach, kept true: names get new addresses, a month's bytes are used up or begin anew."""

import asyncio
import logging
from collections.abc import Iterable

from agent.errors import AwayError, RefusedError, StorageError
from agent.jobs import request
from agent.jobs.job import Job
from agent.jobs.names import Names
from agent.model import JobState
from agent.sandbox import Reach, Sandbox
from agent.spec import JobSpec

log = logging.getLogger(__name__)

_RETRY_SECONDS = 5.0
_NAMES_SECONDS = 2.0  # before runs that an agent before this one started are told anything


class Reaches:
    def __init__(self, sandbox: Sandbox, names: Names, refresh_seconds: float) -> None:
        self._sandbox = sandbox
        self._names = names
        self._refresh_seconds = refresh_seconds
        self._cut: frozenset[str] | None = None  # not known before it is known what the month's bytes are
        self._specs: dict[str, JobSpec] = {}  # by job: those that run and have a network
        self._runs: dict[str, str] = {}
        self._given: dict[str, Reach] = {}  # by run; unknown after a start of the agent
        self._stale = asyncio.Event()

    def follow(self, job_id: str, job: Job | None) -> None:
        """The job has changed; None = it is forgotten."""
        if job is not None and job.spec.network is not None and job.state is JobState.RUNNING:
            if self._runs.get(job_id) != job.run:
                self._forget(job_id)
                self._specs[job_id], self._runs[job_id] = job.spec, job.run
                self._stale.set()
        elif job is None or job.state is not JobState.STARTING:
            self._forget(job_id)
            self._given.pop(job.run if job is not None else "", None)

    def _forget(self, job_id: str) -> None:
        self._specs.pop(job_id, None)
        run = self._runs.pop(job_id, "")
        self._given.pop(run, None)

    async def learn(self, spec: JobSpec, seconds: float) -> None:
        """Resolve the job's names that were never resolved, for at most `seconds`."""
        await self._names.learn(request.names(spec), seconds)

    def now(self, spec: JobSpec) -> Reach:
        """As far as it is known. Of a job without a network: nothing."""
        if spec.network is None:
            return Reach()
        return request.reach(spec.network, self._names.known, cut=spec.id in (self._cut or ()))

    def given(self, run: str, reach: Reach) -> None:
        """The launcher was told of `reach` when the run was started."""
        self._given[run] = reach

    def cut(self, jobs: Iterable[str]) -> None:
        """These have no bytes left this month: they reach nothing until they are no longer among them."""
        cut = frozenset(jobs)
        if cut == self._cut:
            return
        if cut or self._cut:
            before = sorted(self._cut or ())
            log.warning("networks are cut by the month's bytes", extra={"jobs": sorted(cut), "before": before})
        self._cut = cut
        self._stale.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_given(), name="jobs.reach")
            group.create_task(self._keep_resolved(), name="jobs.names")

    async def _keep_resolved(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_seconds)
            names = self._all_names()
            if names and await self._names.refresh(names):
                self._stale.set()

    def _all_names(self) -> frozenset[str]:
        return frozenset(name for spec in self._specs.values() for name in request.names(spec))

    def _strange_names(self) -> frozenset[str]:
        """Of runs that an agent before this one started: it knew their addresses, and took them with it."""
        strange = (spec for job_id, spec in self._specs.items() if self._runs[job_id] not in self._given)
        return frozenset(name for spec in strange for name in request.names(spec))

    def _knows_less(self, spec: JobSpec, run: str) -> bool:
        """Than the agent that started the run did: DNS is away, and what the launcher has is the better answer."""
        wanted = request.names(spec)
        return run not in self._given and bool(wanted) and not any(self._names.known(name) for name in wanted)

    async def _keep_given(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            if self._cut is None:
                continue  # `cut` comes, and calls again
            await self._names.learn(self._strange_names(), _NAMES_SECONDS)
            if not await self._give_all():
                await asyncio.sleep(_RETRY_SECONDS)
                self._stale.set()

    async def _give_all(self) -> bool:
        """Whether every run has what it should."""
        complete = True
        for job_id, run in tuple(self._runs.items()):
            spec = self._specs.get(job_id)
            if spec is None or self._runs.get(job_id) != run:
                continue
            reach = self.now(spec)
            if self._given.get(run) == reach or (self._knows_less(spec, run) and not reach.cut):
                continue
            try:
                await self._sandbox.reach(run, reach)
            except (AwayError, StorageError) as error:
                log.warning("a job's reach is not changed yet", extra={"run": run, "error": str(error)})
                complete = False
            except RefusedError as error:
                # A run that ended a moment ago, or a launcher that can't: its watcher, or the next change, tells.
                log.debug("reach refused", extra={"run": run, "error": str(error)})
            else:
                self._given[run] = reach
        return complete
