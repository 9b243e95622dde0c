"""The life of one job: `step(job, event) -> (job, commands)`. The runner persists the job, then obeys the commands.

Timers are not commands: `due(job)` reads them from the job, so that they survive a crash with it.
"""

from dataclasses import replace

from agent.jobs.job import (
    LIVE,
    Action,
    DeadlineReached,
    Event,
    Exited,
    GraceOver,
    Healthy,
    HealthyDue,
    HostRebooted,
    ImageEvent,
    ImageGone,
    Job,
    Kill,
    LostRun,
    Prepare,
    Prepared,
    PrepareFailed,
    Progress,
    RetryDue,
    RunEvent,
    Started,
    StartFailed,
    StartRun,
    Stop,
    TimeEvent,
    Unhealthy,
    WatchRun,
)
from agent.jobs.moves import (
    Step,
    begin,
    fallback,
    over,
    prove,
    report,
    roll_back,
    start,
    stop,
    stop_and_roll_back,
)
from agent.jobs.wishes import takes_place, wish
from agent.model import Health, JobState
from agent.spec import HOST_IMAGE, JobKind, JobSpec

_STARTED = frozenset({JobState.STARTING, JobState.RUNNING})
_ON_TRIAL = frozenset({JobState.PREPARING, JobState.STARTING, JobState.RUNNING, JobState.BACKING_OFF})
_DUE: dict[JobState, type[RetryDue | DeadlineReached | GraceOver]] = {
    JobState.BACKING_OFF: RetryDue,
    JobState.RUNNING: DeadlineReached,
    JobState.STOPPING: GraceOver,
}

Timer = tuple[float, type[RetryDue | DeadlineReached | GraceOver | HealthyDue]]


def step(job: Job, event: Event) -> Step:
    """Advance `job`. An event that makes no sense in this state, or speaks of another run, changes nothing.

    Every change of state, reason or health ends with a Report of it.
    """
    if isinstance(event, RunEvent):
        after, commands = _run_event(job, event) if event.run == job.run else (job, ())
    elif isinstance(event, ImageEvent):
        after, commands = _image_event(job, event)
    elif isinstance(event, TimeEvent):
        after, commands = _time_event(job, event)
    else:
        after, commands = wish(job, event)
    if _told(after) != _told(job):
        commands = (*commands, report(after))
    return after, commands


def due(job: Job) -> Timer | None:
    """The job's next timer: when it ends and the event that it then is."""
    timers: list[Timer] = []
    if job.due_at is not None and job.state in _DUE:
        timers.append((job.due_at, _DUE[job.state]))
    if job.healthy_by is not None and job.state in _ON_TRIAL:
        timers.append((job.healthy_by, HealthyDue))
    return min(timers, key=lambda timer: timer[0]) if timers else None


def resume(job: Job) -> tuple[Action, ...]:
    """What to order again after a crash of the agent, which nobody knows how far it came. All are idempotent."""
    coming = (Prepare(job.successor),) if job.successor is not None else ()
    match job.state:
        case JobState.PREPARING:
            return (Prepare(job.spec),)
        case JobState.STARTING:
            return (StartRun(job.run, job.spec, job.image), *coming)
        case JobState.RUNNING:
            return (WatchRun(job.run), *coming)
        case JobState.STOPPING:
            return (WatchRun(job.run), Kill(job.run) if job.killed else Stop(job.run, job.spec.stop_signal))
        case _:
            return ()


def _told(job: Job) -> tuple[JobState, str, int, Health]:
    return job.state, job.reason, job.spec.generation, job.health


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
            return over(job, event.at, reason, message, ok=event.exit_code == 0 and not event.oom)
        case StartFailed():
            return over(job, event.at, "start-failed", event.message)
        case ImageGone():
            gone = job.state is JobState.STARTING and job.spec.image != HOST_IMAGE
            return begin(replace(job, starts=job.starts[:-1]), event.at) if gone else (job, ())
        case LostRun():
            return over(job, event.at, "lost", "nobody saw the run end")
        case Healthy():
            return (replace(prove(job), health=Health.HEALTHY), ()) if job.state is JobState.RUNNING else (job, ())
        case Unhealthy():
            if job.state is not JobState.RUNNING:
                return job, ()
            return stop(replace(job, health=Health.UNHEALTHY), event.at, "unhealthy", event.message)


def _started(job: Job, event: Started) -> Step:
    watch = (WatchRun(event.run),) if not job.pid else ()
    job = replace(job, pid=event.pid, started_unix_nano=event.started_unix_nano)
    if job.state is not JobState.STARTING:  # seen again after a restart, or while it is being stopped
        return job, watch
    deadline = job.spec.deadline_seconds
    job = replace(job, state=JobState.RUNNING, due_at=event.at + deadline if deadline else None)
    return (_unchecked(job, event.at) if job.spec.health is None else replace(job, health=Health.STARTING)), watch


def _unchecked(job: Job, at: float) -> Job:
    """Without a check a generation proves itself by running: for healthy_seconds, each run anew."""
    proven = job.proven is not None and job.proven.generation == job.spec.generation
    if job.spec.kind is not JobKind.SERVICE or proven:
        return job
    return replace(job, healthy_by=at + job.spec.healthy_seconds) if job.spec.healthy_seconds else prove(job)


def _ending(job: Job, event: Exited) -> tuple[str, str]:
    if event.oom:
        return "oom", f"used more than its {job.spec.limits.memory_bytes} bytes of memory"
    if event.exit_code > 128:
        return "exit-code", f"ended by signal {event.exit_code - 128}"
    if event.exit_code:
        return "exit-code", f"ended with code {event.exit_code}"
    return "completed", ""


# --- what is heard of images ---------------------------------------------------------------------


def _image_event(job: Job, event: ImageEvent) -> Step:
    if job.state is JobState.PREPARING and event.reference == job.spec.image:
        return _own_image(job, event)
    successor = job.successor
    if job.state in _STARTED and successor is not None and event.reference == successor.image:
        return _image_of_successor(job, successor, event)
    return job, ()


def _own_image(job: Job, event: ImageEvent) -> Step:
    match event:
        case Prepared(image=image, at=at):
            return start(job, at, image)
        case PrepareFailed(message=message):
            to = fallback(job)
            if to is not None:
                return roll_back(job, to, message, "image-refused")
            return replace(job, state=JobState.FAILED, reason="image-refused", message=message, healthy_by=None), ()
        case Progress(message=message):
            return replace(job, message=message), ()


def _image_of_successor(job: Job, successor: JobSpec, event: ImageEvent) -> Step:
    """The old generation runs on until the image of the new one is here, or is known never to come."""
    match event:
        case Progress():
            return job, ()
        case PrepareFailed(message=message) if successor.healthy_seconds:
            refused = replace(Job(successor), state=JobState.FAILED, reason="image-refused", message=message)
            return replace(job, successor=None, refused=successor.generation), (report(refused),)
        case Prepared(at=at) | PrepareFailed(at=at):
            return stop(job, at, "replaced", takes_place(successor))


# --- what the clock says -------------------------------------------------------------------------


def _time_event(job: Job, event: TimeEvent) -> Step:
    match job.state, event:
        case JobState.BACKING_OFF, RetryDue(at=at):
            return begin(job, at)
        case JobState.RUNNING, DeadlineReached(at=at):
            return stop(job, at, "deadline", f"ran longer than {job.spec.deadline_seconds} s")
        case JobState.STOPPING, GraceOver() if not job.killed:
            return replace(job, killed=True, due_at=None), (Kill(job.run),)
        case _, HealthyDue(at=at):
            return _trial_over(job, at)
        case _, HostRebooted(at=at):
            return _rebooted(job, at)
        case _:
            return job, ()


def _trial_over(job: Job, at: float) -> Step:
    if job.healthy_by is None or job.state not in _ON_TRIAL:
        return job, ()
    if job.state is JobState.RUNNING and (job.spec.health is None or job.health is Health.HEALTHY):
        return prove(job), ()
    to = fallback(job)
    if to is None:
        return replace(job, healthy_by=None), ()
    why = f"not healthy within {job.spec.healthy_seconds} s"
    return stop_and_roll_back(job, to, at, why) if job.state in _STARTED else roll_back(job, to, why)


def _rebooted(job: Job, at: float) -> Step:
    """Runs made before the reboot count as made at it: a job that takes the box down can't start anew for ever."""
    healthy_by = None if job.healthy_by is None else at + job.spec.healthy_seconds
    job = replace(job, starts=(at,) * len(job.starts), healthy_by=healthy_by)
    if job.state in LIVE:
        return over(job, at, "reboot", "the box restarted during the run")
    if job.state is JobState.BACKING_OFF:
        return replace(job, due_at=at), ()
    return job, ()
