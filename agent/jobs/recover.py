"""After a start of the agent: from the runs that the launcher holds to what must be done about them. Pure."""

from collections.abc import Iterable, Mapping

from agent.jobs.job import FINAL, Job
from agent.jobs.moves import run_name
from agent.model import JobState
from agent.sandbox import DiskState, RunState
from agent.spec import HOST_IMAGE, JobSpec


def strays(runs: Iterable[RunState], jobs: Mapping[str, Job]) -> tuple[RunState, ...]:
    """Runs that no job speaks of, newest first."""
    spoken_of = {job.run for job in jobs.values()}
    unknown = (state for state in runs if state.run not in spoken_of)
    return tuple(sorted(unknown, key=lambda state: state.started_unix_nano, reverse=True))


def adopted(state: RunState, desired: Iterable[JobSpec], jobs: Mapping[str, Job]) -> Job | None:
    """The job that a stray run belongs to when the job database was lost; None if nobody wants it.

    A run's name is all that is left to go by. Without this a batch job that had run would run again. The job is
    said to be starting: to start it once more only tells what became of the run.
    """
    for spec in desired:
        known = jobs.get(spec.id)
        untouched = known is None or (known.state in (JobState.PENDING, JobState.REJECTED) and known.attempt == 0)
        attempt = state.run.removeprefix(run_name(spec, 0)[:-1])
        if untouched and state.tenant == spec.tenant and attempt != state.run and attempt.isdecimal():
            return Job(
                spec,
                JobState.STARTING,
                attempt=int(attempt),
                run=state.run,
                image=_assumed(spec.image),
                disk_bytes=spec.limits.disk_bytes,
            )
    return None


def orphans(disks: Iterable[DiskState], desired: Iterable[JobSpec], jobs: Mapping[str, Job]) -> tuple[DiskState, ...]:
    """Disks of no job, known or desired: the agent went between deciding their removal and having it done."""
    owned = {(job.spec.tenant, job.spec.id) for job in jobs.values() if not job.gone or job.state not in FINAL}
    owned |= {(spec.tenant, spec.id) for spec in desired}
    return tuple(disk for disk in disks if (disk.tenant, disk.job) not in owned)


def _assumed(image: str) -> str:
    """The launcher doesn't look at the image of a run that it has; it only must be one."""
    return HOST_IMAGE if image == HOST_IMAGE else f"sha256:{image.rpartition('sha256:')[2]}"
