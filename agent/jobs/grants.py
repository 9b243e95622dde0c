"""Runs that were granted something at the store's broker: told as a whole, whenever there are others.

What is told holds from the moment a run is about to start to the moment its end is on disk. Whoever is told makes the
broker so; one that was away when it was told need not know what it missed.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from agent.jobs.job import LIVE, Job
from agent.spec import JobSpec, MqttView, Tenant


@dataclass(frozen=True, slots=True)
class Broker:
    """What agent/mqtt does for jobs.

    `views` takes all live runs with grants: others have none from then on. `secrets(run, spec)` are the run's user name
    and password, by the secret's name; it waits a moment for what was told to be in force, but not for ever. Raises
    StorageError.
    """

    views: Callable[[frozenset[MqttView]], None]
    secrets: Callable[[str, JobSpec], Awaitable[Mapping[str, bytes]]]


class Grants:
    """`broker` None: there is none here, and no job with grants is admitted."""

    def __init__(self, broker: Broker | None) -> None:
        self._broker = broker
        self._live: dict[str, Job] = {}
        self._stores: frozenset[str] = frozenset()
        self._told: frozenset[MqttView] | None = (
            None  # not before all jobs are known: who isn't told of loses its access
        )

    def begin(self, jobs: Mapping[str, Job]) -> None:
        """All that is in the book, before anything of it changes."""
        self._live = {job_id: job for job_id, job in jobs.items() if _has_some(job)}
        self._told = self._views()
        if self._broker is not None:
            self._broker.views(self._told)

    def follow(self, job_id: str, job: Job | None) -> None:
        """The job has changed; None = it is forgotten."""
        if job is not None and _has_some(job):
            self._live[job_id] = job
        else:
            self._live.pop(job_id, None)
        self._tell()

    def know(self, tenants: Iterable[Tenant]) -> None:
        """Who is the store itself."""
        self._stores = frozenset(tenant.id for tenant in tenants if tenant.store)
        self._tell()

    async def secrets(self, run: str, spec: JobSpec) -> Mapping[str, bytes]:
        """As Broker.secrets; none without grants."""
        return await self._broker.secrets(run, spec) if self._broker is not None and spec.mqtt else {}

    def _tell(self) -> None:
        if self._broker is None or self._told is None:
            return
        now = self._views()
        if now != self._told:
            self._told = now
            self._broker.views(now)

    def _views(self) -> frozenset[MqttView]:
        return views(self._live.values(), self._stores)


def views(jobs: Iterable[Job], stores: Collection[str] = ()) -> frozenset[MqttView]:
    """Of those that the launcher may hold a run of, and that were granted something; `stores` are the store's own."""
    return frozenset(
        MqttView(job.run, job.spec.tenant, job.spec.id, job.spec.mqtt, store=job.spec.tenant in stores)
        for job in jobs
        if _has_some(job)
    )


def _has_some(job: Job) -> bool:
    return bool(job.spec.mqtt and job.run) and job.state in LIVE
