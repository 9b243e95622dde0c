"""The life of one job: `step(job, event) -> (job, commands)`. The runner persists the job, then obeys the commands.

Timers are not commands: `due(job)` reads them from the job, so that they survive a crash with it.
"""

from dataclasses import replace

from agent.jobs import restart
from agent.jobs.job import (
    FINAL,
    LIVE,
    Action,
    Admitted,
    Command,
    DeadlineReached,
    Event,
    Exited,
    GraceOver,
    HostRebooted,
    Job,
    Kill,
    LostRun,
    Rejected,
    RemoveRun,
    Replaced,
    RetryDue,
    Returned,
    RunEvent,
    Started,
    StartFailed,
    StartRun,
    Stop,
    StopAsked,
    WatchRun,
    Withdrawn,
)
from agent.model import Event as Report
from agent.model import JobState
from agent.spec import JobKind, JobSpec

Step = tuple[Job, tuple[Command, ...]]


def step(job: Job, event: Event) -> Step:
    """Advance `job`. An event that makes no sense in this state, or speaks of another run, changes nothing.

    Every change of state or reason ends with a Report of it.
    """
    if isinstance(event, RunEvent):
        after, commands = _run_event(job, event) if event.run == job.run else (job, ())
    elif isinstance(event, RetryDue | DeadlineReached | GraceOver | HostRebooted):
        after, commands = _time_event(job, event)
    else:
        after, commands = _wish(job, event)
    if (after.state, after.reason, after.spec.generation) != (job.state, job.reason, job.spec.generation):
        commands = (*commands, report(after))
    return after, commands


def due(job: Job) -> tuple[float, type[RetryDue | DeadlineReached | GraceOver]] | None:
    """The job's timer: when it ends and the event that it then is."""
    if job.due_at is None:
        return None
    match job.state:
        case JobState.BACKING_OFF:
            return job.due_at, RetryDue
        case JobState.RUNNING:
            return job.due_at, DeadlineReached
        case JobState.STOPPING:
            return job.due_at, GraceOver
        case _:
            return None


def resume(job: Job) -> tuple[Action, ...]:
    """What to order again after a crash of the agent, which nobody knows how far it came. All are idempotent."""
    match job.state:
        case JobState.STARTING:
            return (StartRun(job.run, job.spec, job.image),)
        case JobState.RUNNING:
            return (WatchRun(job.run),)
        case JobState.STOPPING:
            return (WatchRun(job.run), Kill(job.run) if job.killed else Stop(job.run, job.spec.stop_signal))
        case _:
            return ()


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
    )


def run_name(spec: JobSpec, attempt: int) -> str:
    return f"{spec.id}.{spec.generation}.{attempt}"


# --- what the launcher says ----------------------------------------------------------------------


def _run_event(job: Job, event: RunEvent) -> Step:
    if job.state not in LIVE:
        return job, ()
    match event:
        case Started():
            return _started(job, event)
        case Exited():
            job = replace(job, exit_code=event.exit_code, ended_unix_nano=event.ended_unix_nano)
            reason, message = _ending(job, event)
            return _over(job, event.at, reason, message, ok=event.exit_code == 0 and not event.oom)
        case StartFailed():
            return _over(job, event.at, "start-failed", event.message)
        case LostRun():
            return _over(job, event.at, "lost", "nobody saw the run end")


def _started(job: Job, event: Started) -> Step:
    watch = (WatchRun(event.run),)
    job = replace(job, pid=event.pid, started_unix_nano=event.started_unix_nano)
    if job.state is not JobState.STARTING:  # seen again after a restart, or while it is being stopped
        return job, watch
    deadline = job.spec.deadline_seconds
    return replace(job, state=JobState.RUNNING, due_at=event.at + deadline if deadline else None), watch


def _ending(job: Job, event: Exited) -> tuple[str, str]:
    if event.oom:
        return "oom", f"used more than its {job.spec.limits.memory_bytes} bytes of memory"
    if event.exit_code > 128:
        return "exit-code", f"ended by signal {event.exit_code - 128}"
    if event.exit_code:
        return "exit-code", f"ended with code {event.exit_code}"
    return "completed", ""


def _over(job: Job, at: float, reason: str, message: str, *, ok: bool = False) -> Step:
    """The run is over, however it came to be."""
    asked_to_stop = job.state is JobState.STOPPING
    job = replace(job, pid=0, due_at=None, killed=False)
    if not asked_to_stop:
        return _restart_or_end(job, at, reason, message, ok=ok)
    if job.successor is not None:
        ended = replace(job, state=JobState.FINISHED)
        return _fresh(job, job.successor), (report(ended),)
    match job.reason:
        case "withdrawn":
            return _leave(job)
        case "deadline":
            return replace(job, state=JobState.FAILED), ()
        case _ if job.spec.kind is JobKind.BATCH:
            return replace(job, state=JobState.FAILED, message="stopped before its end"), ()
        case _:
            return _restart_or_end(job, at, "stopped", "", ok=True)


def _restart_or_end(job: Job, at: float, reason: str, message: str, *, ok: bool) -> Step:
    job = replace(job, reason=reason, message=message)
    if restart.wanted(job.spec, ok=ok):
        recent = restart.recent(job.spec.restart, job.starts, at)
        if not restart.exhausted(job.spec.restart, recent):
            wait = restart.backoff_seconds(job.spec.restart, recent)
            return replace(job, state=JobState.BACKING_OFF, starts=recent, due_at=at + wait), ()
        bound = f"gave up after {len(recent)} runs in {job.spec.restart.window_seconds} s"
        job = replace(job, message=f"{message}; {bound}" if message else bound)
        ok = False
    if ok:
        return replace(job, state=JobState.FINISHED), ()
    return replace(job, state=JobState.LOST if reason in ("lost", "reboot") else JobState.FAILED), ()


# --- what the clock says -------------------------------------------------------------------------


def _time_event(job: Job, event: RetryDue | DeadlineReached | GraceOver | HostRebooted) -> Step:
    match job.state, event:
        case JobState.BACKING_OFF, RetryDue(at=at):
            return _start(job, at)
        case JobState.RUNNING, DeadlineReached(at=at):
            return _stop(job, at, "deadline", f"ran longer than {job.spec.deadline_seconds} s")
        case JobState.STOPPING, GraceOver() if not job.killed:
            return replace(job, killed=True, due_at=None), (Kill(job.run),)
        case _, HostRebooted(at=at):
            return _rebooted(job, at)
        case _:
            return job, ()


def _rebooted(job: Job, at: float) -> Step:
    """Runs made before the reboot count as made at it: a job that takes the box down can't start anew for ever."""
    job = replace(job, starts=(at,) * len(job.starts))
    if job.state in LIVE:
        return _over(job, at, "reboot", "the box restarted during the run")
    if job.state is JobState.BACKING_OFF:
        return replace(job, due_at=at), ()
    return job, ()


# --- what people want ----------------------------------------------------------------------------


def _wish(job: Job, event: Admitted | Rejected | StopAsked | Withdrawn | Replaced | Returned) -> Step:
    match event:
        case Admitted(at=at):
            return _start(job, at) if job.state in (JobState.PENDING, JobState.REJECTED) else (job, ())
        case Rejected(reason=reason, message=message):
            if job.state in (JobState.PENDING, JobState.REJECTED):
                return replace(job, state=JobState.REJECTED, reason=reason, message=message), ()
            return job, ()
        case StopAsked(at=at):
            return _stop_asked(job, at)
        case Withdrawn(at=at):
            return _withdrawn(job, at)
        case Replaced(spec=spec, at=at):
            return _replaced(job, spec, at)
        case Returned(spec=spec):
            return _returned(job, spec)


def _stop_asked(job: Job, at: float) -> Step:
    if job.state in (JobState.STARTING, JobState.RUNNING):
        return _stop(job, at, "stopped", "stopped on request")
    if job.state is JobState.BACKING_OFF and job.spec.kind is JobKind.BATCH:
        return replace(job, state=JobState.FAILED, reason="stopped", message="stopped on request", due_at=None), ()
    return job, ()


def _withdrawn(job: Job, at: float) -> Step:
    if job.state in (JobState.STARTING, JobState.RUNNING):
        return _stop(job, at, "withdrawn", "no longer desired")
    if job.state is JobState.STOPPING:
        return replace(job, reason="withdrawn", message="no longer desired", successor=None), ()
    if job.state in FINAL:
        return _forget_run(replace(job, gone=True))
    return _leave(replace(job, reason="withdrawn", message="no longer desired"))


def _replaced(job: Job, spec: JobSpec, at: float) -> Step:
    message = f"generation {spec.generation} takes its place"
    if job.state in (JobState.STARTING, JobState.RUNNING):
        job, commands = _stop(job, at, "replaced", message)
        return replace(job, successor=spec), commands
    if job.state is JobState.STOPPING:
        return replace(job, reason="replaced", message=message, successor=spec), ()
    if job.state is JobState.BACKING_OFF:
        ended = replace(job, state=JobState.FINISHED, reason="replaced", message=message)
        return _fresh(job, spec), (report(ended),)
    return _fresh(job, spec), ()


def _returned(job: Job, spec: JobSpec) -> Step:
    once = spec.kind is JobKind.BATCH and job.attempt > 0
    if job.state is JobState.STOPPING and job.reason == "withdrawn" and not once:
        return replace(job, successor=spec), ()
    if job.state in FINAL and job.gone:
        return (replace(job, gone=False), ()) if once else (_fresh(job, spec), ())
    return job, ()


# --- moves ---------------------------------------------------------------------------------------


def _start(job: Job, at: float) -> Step:
    """The next attempt. The traces of the run before go only now, so that its log can be read until then."""
    attempt = job.attempt + 1
    run = run_name(job.spec, attempt)
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
        pid=0,
        exit_code=None,
        started_unix_nano=0,
        ended_unix_nano=0,
    )
    before = (RemoveRun(job.run),) if job.run else ()
    return starting, (*before, StartRun(run, job.spec, job.image))


def _stop(job: Job, at: float, reason: str, message: str) -> Step:
    stopping = replace(
        job, state=JobState.STOPPING, reason=reason, message=message, due_at=at + job.spec.stop_grace_seconds
    )
    return stopping, (Stop(job.run, job.spec.stop_signal),)


def _leave(job: Job) -> Step:
    return _forget_run(replace(job, state=JobState.FINISHED, due_at=None, gone=True))


def _forget_run(job: Job) -> Step:
    return replace(job, run=""), (RemoveRun(job.run),) if job.run else ()


def _fresh(job: Job, spec: JobSpec) -> Job:
    """A new life. Its run numbers go on when the generation is the same: no two runs share a name."""
    return Job(spec=spec, run=job.run, attempt=job.attempt if spec.generation == job.spec.generation else 0)
