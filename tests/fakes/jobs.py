"""Specs and jobs for tests, with everything that doesn't matter filled in."""

from dataclasses import replace

from agent.jobs.job import Command, Event, Job
from agent.jobs.machine import step
from agent.model import JobState
from agent.spec import Desired, JobKind, JobSpec, Limits, Quota, RestartMode, RestartPolicy, Tenant

NEVER = RestartPolicy(RestartMode.NEVER)
ON_FAILURE = RestartPolicy(RestartMode.ON_FAILURE, max_attempts=3, window_seconds=600)
ALWAYS = RestartPolicy(RestartMode.ALWAYS)


def batch(id_: str = "b", **changes: object) -> JobSpec:
    spec = JobSpec(
        id=id_,
        generation=1,
        tenant="acme",
        kind=JobKind.BATCH,
        image="host",
        command=("/bin/true",),
        limits=Limits(cpu_milli=100, memory_bytes=32 << 20),
        restart=NEVER,
    )
    return replace(spec, **changes)


def service(id_: str = "s", **changes: object) -> JobSpec:
    return batch(id_, **{"kind": JobKind.SERVICE, "restart": ALWAYS, **changes})


def running(spec: JobSpec, **changes: object) -> Job:
    run = f"{spec.id}.{spec.generation}.1"
    return replace(
        Job(spec, JobState.RUNNING, attempt=1, run=run, starts=(0.0,), pid=7, started_unix_nano=1), **changes
    )


ROOMY = Quota(jobs=100, cpu_milli=100_000, memory_bytes=1 << 40)


def desired(*specs: JobSpec, revision: int = 1, quota: Quota = ROOMY) -> Desired:
    return Desired(revision, tuple(Tenant(t, quota=quota) for t in ("acme", "bolt")), specs)


def walk(job: Job, *happened: Event) -> tuple[Job, list[Command]]:
    """One event after the other, and all that is commanded meanwhile."""
    commands: list[Command] = []
    for event in happened:
        job, more = step(job, event)
        commands += more
    return job, commands
