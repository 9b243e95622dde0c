"""The moves that a job's life is made of; machine.py decides which is made when. Pure."""

from dataclasses import replace

from agent.jobs import restart
from agent.jobs.job import HOLDS_ROOM, Command, Job, Prepare, RemoveDisk, RemoveRun, StartRun, Stop
from agent.model import Event as Report
from agent.model import Health, JobState
from agent.spec import HOST_IMAGE, JobKind, JobSpec, RestartMode

Step = tuple[Job, tuple[Command, ...]]

ROLLED_BACK = "rolled-back"


def report(job: Job) -> Report:
    return Report(
        kind="job.state",
        tenant=job.spec.tenant,
        job=job.spec.id,
        generation=job.spec.generation,
        attempt=job.attempt,
        state=job.state,
        reason=job.reason,
        message=job.message,
        exit_code=job.exit_code,
        attributes={} if job.health is Health.UNKNOWN else {"health": job.health.value},
    )


def run_name(spec: JobSpec, attempt: int) -> str:
    return f"{spec.id}.{spec.generation}.{attempt}"


# --- towards a run -------------------------------------------------------------------------------


def begin(job: Job, at: float) -> Step:
    """The next attempt: its image first. It may have been removed since the attempt before."""
    if job.spec.image == HOST_IMAGE:
        return start(job, at, HOST_IMAGE)
    preparing = replace(job, state=JobState.PREPARING, reason="", message="", due_at=None, first=False)
    return preparing, (Prepare(job.spec),)


def start(job: Job, at: float, image: str) -> Step:
    """The traces of the run before go only now, so that its log can be read until then."""
    attempt = job.attempt + 1
    run = run_name(job.spec, attempt)
    healthy_by = job.healthy_by
    if healthy_by is None and job.spec.health is not None and fallback(job) is not None:
        healthy_by = at + job.spec.healthy_seconds
    starting = replace(
        job,
        state=JobState.STARTING,
        reason="",
        message="",
        attempt=attempt,
        run=run,
        starts=(*restart.recent(job.spec.restart, job.starts, at), at),
        due_at=None,
        killed=False,
        first=False,
        pid=0,
        exit_code=None,
        started_unix_nano=0,
        ended_unix_nano=0,
        image=image,
        disk_bytes=max(job.disk_bytes, job.spec.limits.disk_bytes),
        health=Health.UNKNOWN,
        healthy_by=healthy_by,
    )
    return starting, (StartRun(run, job.spec, image, job.run),)


def stop(job: Job, at: float, reason: str, message: str) -> Step:
    stopping = replace(
        job, state=JobState.STOPPING, reason=reason, message=message, due_at=at + job.spec.stop_grace_seconds
    )
    return stopping, (Stop(job.run, job.spec.stop_signal),)


# --- after a run ---------------------------------------------------------------------------------


def over(job: Job, at: float, reason: str, message: str, *, ok: bool = False) -> Step:
    """The run is over, however it came to be."""
    asked_to_stop = job.state is JobState.STOPPING
    job = replace(job, pid=0, due_at=None, killed=False)
    if job.successor is not None:
        return _succeeded(job, job.successor)
    if not asked_to_stop:
        to = fallback(job)
        if to is not None and job.spec.health is None and reason != "reboot":
            return roll_back(job, to, f"ended within {job.spec.healthy_seconds} s: {message or reason}")
        return restart_or_end(job, at, reason, message, ok=ok)
    if job.evicted:
        return wait_again(replace(job, starts=job.starts[:-1]))
    match job.reason:
        case "withdrawn":
            return leave(job)
        case "deadline":
            return replace(job, state=JobState.FAILED), ()
        case "unhealthy":
            return restart_or_end(job, at, job.reason, job.message, ok=False)
        case _ if job.spec.kind is JobKind.BATCH:
            return replace(job, state=JobState.FAILED, message="stopped before its end"), ()
        case _:
            return restart_or_end(job, at, "stopped", "", ok=True)


def _succeeded(job: Job, successor: JobSpec) -> Step:
    if job.state is JobState.STOPPING:
        failed = job.reason in ("deadline", "unhealthy", ROLLED_BACK)
        ended = replace(job, state=JobState.FAILED if failed else JobState.FINISHED)
    else:
        message = f"generation {successor.generation} takes its place"
        ended = replace(job, state=JobState.FINISHED, reason="replaced", message=message)
    after, commands = fresh(job, successor)
    return after, (*commands, report(ended))


def restart_or_end(job: Job, at: float, reason: str, message: str, *, ok: bool) -> Step:
    job = replace(job, reason=reason, message=message)
    if restart.wanted(job.spec, ok=ok):
        recent = restart.recent(job.spec.restart, job.starts, at)
        if not restart.exhausted(job.spec.restart, recent):
            wait = restart.backoff_seconds(job.spec.restart, recent)
            return replace(job, state=JobState.BACKING_OFF, starts=recent, due_at=at + wait), ()
        bound = f"gave up after {len(recent)} runs in {job.spec.restart.window_seconds} s"
        job = replace(job, message=f"{message}; {bound}" if message else bound)
        ok = False
    to = fallback(job)
    if not ok and to is not None:
        return roll_back(job, to, job.message)
    job = replace(job, healthy_by=None)
    if ok:
        return replace(job, state=JobState.FINISHED), ()
    return replace(job, state=JobState.LOST if reason in ("lost", "reboot") else JobState.FAILED), ()


def wait_again(job: Job) -> Step:
    """Its room was taken; it may have it again. A batch job that must not run twice has failed instead."""
    job = replace(job, due_at=None, evicted=False, healthy_by=None)
    once = job.spec.kind is JobKind.BATCH and job.spec.restart.mode is RestartMode.NEVER
    if once and job.state is not JobState.PREPARING:
        return replace(job, state=JobState.FAILED), ()
    return replace(job, state=JobState.PENDING), ()


def leaving(job: Job) -> bool:
    """Whether it was asked to stop and will not take its room again by itself."""
    if job.state is not JobState.STOPPING or job.evicted:
        return job.evicted
    if job.successor is not None:
        return False
    return job.reason in ("withdrawn", "deadline") or job.spec.kind is JobKind.BATCH


# --- proving a generation ------------------------------------------------------------------------


def fallback(job: Job) -> JobSpec | None:
    """What is gone back to if this generation fails; None when it has been healthy, or none before it was."""
    if job.spec.kind is not JobKind.SERVICE or not job.spec.healthy_seconds:
        return None
    return job.proven if job.proven is not None and job.proven.generation != job.spec.generation else None


def prove(job: Job) -> Job:
    """This generation has been healthy: it is what a later one goes back to."""
    if job.spec.kind is not JobKind.SERVICE:
        return job
    return replace(job, proven=job.spec, healthy_by=None)


def roll_back(job: Job, to: JobSpec, why: str, reason: str = ROLLED_BACK) -> Step:
    """At once: no run is left to be stopped."""
    ended = replace(job, state=JobState.FAILED, reason=reason, message=_back(to, why))
    after, commands = fresh(replace(ended, refused=job.spec.generation), to)
    return replace(after, first=True), (*commands, report(ended))


def stop_and_roll_back(job: Job, to: JobSpec, at: float, why: str) -> Step:
    stopping, commands = stop(job, at, ROLLED_BACK, _back(to, why))
    return replace(stopping, successor=to, refused=job.spec.generation), commands


def _back(to: JobSpec, why: str) -> str:
    return f"{why}; back to generation {to.generation}"


# --- another life, or none -----------------------------------------------------------------------


def fresh(job: Job, spec: JobSpec) -> Step:
    """A new life. Run numbers go on within a generation, also in one that is gone back to: no two runs share a name."""
    proven_attempt = job.proven_attempt
    if job.proven is not None and job.proven.generation == job.spec.generation:
        proven_attempt = job.attempt
    if spec.generation == job.spec.generation:
        attempt = job.attempt
    else:
        attempt = proven_attempt if job.proven is not None and spec.generation == job.proven.generation else 0
    life = Job(
        spec=spec,
        run=job.run,
        attempt=attempt,
        first=job.state in HOLDS_ROOM and not job.evicted,
        disk_bytes=job.disk_bytes,
        proven=job.proven,
        proven_attempt=proven_attempt,
        refused=job.refused,
    )
    if spec.tenant == job.spec.tenant:
        return life, ()
    # Another tenant's now: it gets neither the disk nor the past of the one before.
    removal = (RemoveDisk(job.spec.tenant, job.spec.id),) if job.disk_bytes else ()
    return replace(life, disk_bytes=0, proven=None, refused=0), removal


def leave(job: Job) -> Step:
    return forget_traces(replace(job, state=JobState.FINISHED, due_at=None, healthy_by=None, evicted=False, gone=True))


def forget_traces(job: Job) -> Step:
    run = (RemoveRun(job.run),) if job.run else ()
    disk = (RemoveDisk(job.spec.tenant, job.spec.id),) if job.disk_bytes else ()
    return replace(job, run="", disk_bytes=0), (*run, *disk)
