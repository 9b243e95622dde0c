"""What people want of a job, and what admission makes of it: the part of machine.py that no run has a say in. Pure."""

from dataclasses import replace

from agent.jobs.job import (
    FINAL,
    Admitted,
    Evicted,
    Job,
    Prepare,
    Rejected,
    Replaced,
    Returned,
    StopAsked,
    Waits,
    Wish,
    Withdrawn,
)
from agent.jobs.moves import (
    Step,
    begin,
    fallback,
    forget_traces,
    fresh,
    leave,
    leaving,
    report,
    roll_back,
    stop,
    wait_again,
)
from agent.model import JobState
from agent.spec import HOST_IMAGE, JobKind, JobSpec

_STARTED = frozenset({JobState.STARTING, JobState.RUNNING})
_WAITING = frozenset({JobState.PENDING, JobState.REJECTED})
# Refusals that meet the generation before as well: to go back to it would only burn the new one.
_NOT_ITS_FAULT = frozenset({"budget", "spool-full", "no-memory-controller", "unknown-tenant", "too-hot"})


def wish(job: Job, event: Wish) -> Step:
    match event:
        case Admitted() | Waits() | Rejected():
            return _admission(job, event) if job.state in _WAITING else (job, ())
        case Evicted():
            return _evicted(job, event)
        case StopAsked(at=at):
            return _stop_asked(job, at)
        case Withdrawn(at=at):
            return _withdrawn(job, at)
        case Replaced(spec=spec, at=at):
            return _replaced(job, spec, at)
        case Returned(spec=spec):
            return _returned(job, spec)


def _admission(job: Job, event: Admitted | Waits | Rejected) -> Step:
    match event:
        case Admitted(at=at):
            return begin(job, at)
        case Waits(reason=reason, message=message):
            return replace(job, state=JobState.PENDING, reason=reason, message=message), ()
        case Rejected(reason=reason, message=message):
            to = fallback(job) if job.attempt == 0 and job.first and reason not in _NOT_ITS_FAULT else None
            if to is not None:  # an update that has no room must not end the service that ran until a moment ago
                return roll_back(job, to, message, reason)
            return replace(job, state=JobState.REJECTED, reason=reason, message=message, first=False), ()


def _evicted(job: Job, event: Evicted) -> Step:
    told = replace(job, reason=event.reason, message=event.message)
    if job.state in _STARTED:
        job, commands = stop(job, event.at, event.reason, event.message)
        return replace(job, evicted=True), commands
    if job.state is JobState.STOPPING and not leaving(job):
        return replace(told if job.successor is None else job, evicted=True), ()
    if job.state in (JobState.PREPARING, JobState.BACKING_OFF):
        return wait_again(told)
    return job, ()


def _stop_asked(job: Job, at: float) -> Step:
    if job.state in _STARTED:
        return stop(job, at, "stopped", "stopped on request")
    if job.state in (JobState.PREPARING, JobState.BACKING_OFF) and job.spec.kind is JobKind.BATCH:
        return replace(job, state=JobState.FAILED, reason="stopped", message="stopped on request", due_at=None), ()
    return job, ()


def _withdrawn(job: Job, at: float) -> Step:
    job = replace(job, successor=None, evicted=False)
    if job.state in _STARTED:
        return stop(job, at, "withdrawn", "no longer desired")
    if job.state is JobState.STOPPING:
        return replace(job, reason="withdrawn", message="no longer desired"), ()
    if job.state in FINAL:
        return forget_traces(replace(job, gone=True))
    return leave(replace(job, reason="withdrawn", message="no longer desired"))


def _replaced(job: Job, spec: JobSpec, at: float) -> Step:
    message = takes_place(spec)
    if job.state in _STARTED:
        if spec.image not in (HOST_IMAGE, job.spec.image):
            return replace(job, successor=spec), (Prepare(spec),)
        job, commands = stop(job, at, "replaced", message)
        return replace(job, successor=spec), commands
    if job.state is JobState.STOPPING:
        return replace(job, reason="replaced", message=message, successor=spec), ()
    after, commands = fresh(job, spec)
    if job.state in (JobState.PREPARING, JobState.BACKING_OFF):
        ended = replace(job, state=JobState.FINISHED, reason="replaced", message=message)
        return after, (*commands, report(ended))
    return after, commands


def takes_place(spec: JobSpec) -> str:
    return f"generation {spec.generation} takes its place"


def _returned(job: Job, spec: JobSpec) -> Step:
    once = spec.kind is JobKind.BATCH and job.attempt > 0
    if job.state is JobState.STOPPING and job.reason == "withdrawn" and not once:
        return replace(job, successor=spec), ()
    if job.state in FINAL and job.gone:
        return (replace(job, gone=False), ()) if once else fresh(job, spec)
    return job, ()
