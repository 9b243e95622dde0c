"""Jobs as their events tell them: works for nodes that are away. Pure."""

from collections.abc import Iterable

from storeedge.v1.agent_pb2 import Job
from storeedge.v1.record_pb2 import (
    JOB_STATE_FAILED,
    JOB_STATE_FINISHED,
    JOB_STATE_LOST,
    JOB_STATE_RUNNING,
    JOB_STATE_STARTING,
    JOB_STATE_UNSPECIFIED,
    Event,
    Record,
)

JOB_EVENT = "job.state"
_HEALTH = {"starting": Job.HEALTH_STARTING, "healthy": Job.HEALTH_HEALTHY, "unhealthy": Job.HEALTH_UNHEALTHY}
_ENDED = frozenset({JOB_STATE_FINISHED, JOB_STATE_FAILED, JOB_STATE_LOST})


def jobs(records: Iterable[Record]) -> list[Job]:
    """The newest state of each job, by id, from its events in the order in which they came."""
    found: dict[str, Job] = {}
    for record in records:
        event = record.event
        if event.kind != JOB_EVENT or not event.job or event.state == JOB_STATE_UNSPECIFIED:
            continue
        before = found.get(event.job)
        job = Job(
            id=event.job,
            generation=event.generation,
            tenant=event.tenant,
            state=event.state,
            reason=event.reason,
            attempt=event.attempt,
            message=event.message,
            health=_health(event),
        )
        if before is not None and (before.generation, before.attempt) == (event.generation, event.attempt):
            job.started_unix_nano = before.started_unix_nano
            job.ended_unix_nano = before.ended_unix_nano
            if before.HasField("exit_code"):
                job.exit_code = before.exit_code
        if event.HasField("exit_code"):
            job.exit_code = event.exit_code
        if event.state == JOB_STATE_RUNNING:
            job.started_unix_nano = record.time_unix_nano
        elif event.state in _ENDED or (event.HasField("exit_code") and event.state != JOB_STATE_STARTING):
            job.ended_unix_nano = record.time_unix_nano
        found[event.job] = job
    return [found[name] for name in sorted(found)]


def _health(event: Event) -> Job.Health:
    """Of what runs. The event of its end still tells what it was."""
    told = event.attributes.get("health", "") if event.state == JOB_STATE_RUNNING else ""
    return _HEALTH.get(told, Job.HEALTH_UNSPECIFIED)
