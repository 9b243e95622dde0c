"""Desired jobs against known jobs: what must happen to make them one. Pure; may run as often as you like.

Only a higher generation changes a job; other differences in a spec of the same or a lower generation are left alone.
A generation that was rolled back is not tried again: the job stays with the one before until a higher one is desired.
A withdrawn job that ever ran stays known, hidden, so that a batch job that comes back isn't run a second time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.jobs.job import FINAL, Event, Job, Replaced, Returned, Withdrawn
from agent.model import JobState
from agent.spec import JobSpec

KEPT_GONE = 1024  # withdrawn jobs remembered; the longest gone are forgotten first


@dataclass(frozen=True, slots=True)
class Plan:
    create: tuple[JobSpec, ...]
    advance: tuple[tuple[str, Event], ...]
    forget: tuple[str, ...]


def reconcile(desired: Iterable[JobSpec], known: Mapping[str, Job], at: float) -> Plan:
    """`at` is CLOCK_BOOTTIME in seconds. If an id is desired twice, its highest generation counts."""
    specs: dict[str, JobSpec] = {}
    for spec in desired:
        if spec.id not in specs or spec.generation > specs[spec.id].generation:
            specs[spec.id] = spec
    events: list[tuple[str, Event]] = []
    for id_, job in known.items():
        event = _for_known(job, specs.get(id_), at)
        if event is not None:
            events.append((id_, event))
    create = tuple(spec for id_, spec in specs.items() if id_ not in known)
    return Plan(create, tuple(events), _forgettable(specs, known))


def _for_known(job: Job, wanted: JobSpec | None, at: float) -> Event | None:
    heading_for = job.successor or job.spec
    leaving = job.successor is None and (job.gone or (job.state is JobState.STOPPING and job.reason == "withdrawn"))
    if wanted is None:
        return None if leaving else Withdrawn(at)
    if wanted.generation > max(heading_for.generation, job.refused):
        return Replaced(wanted, at)
    if leaving and wanted.generation in (heading_for.generation, job.refused):
        return Returned(wanted if wanted.generation == heading_for.generation else heading_for)
    return None


def _forgettable(specs: Mapping[str, JobSpec], known: Mapping[str, Job]) -> tuple[str, ...]:
    gone = [(id_, job) for id_, job in known.items() if job.gone and job.state in FINAL and id_ not in specs]
    never_ran = [id_ for id_, job in gone if job.attempt == 0]
    ran = sorted(((job.ended_unix_nano, id_) for id_, job in gone if job.attempt), reverse=True)
    return (*never_ran, *(id_ for _, id_ in ran[KEPT_GONE:]))
