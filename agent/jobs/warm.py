"""Sandboxes made ahead, each for one run to come: a start then only lets go of what stands ready.

They are not admitted and not billed: they run nothing. Each is used once, by the job it was made for.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from agent.jobs.job import FINAL, Job, RemoveRun
from agent.jobs.moves import run_name
from agent.model import JobState
from agent.spec import JobKind, JobSpec


@dataclass(frozen=True, slots=True)
class Hold:
    """Make the sandbox of a run to come."""

    run: str
    spec: JobSpec
    image: str


Submit = Callable[[str, Hold | RemoveRun], None]


def to_hold(job: Job) -> tuple[str, ...]:
    """The runs to come that are worth a sandbox: a batch job's next generations, a service's next attempts.

    None for a job with a disk or a published port: two sandboxes would have it at once, and the launcher refuses.
    """
    spec = job.spec
    if job.gone or spec.limits.disk_bytes or (spec.network is not None and spec.network.publish):
        return ()
    if spec.kind is JobKind.BATCH:
        return tuple(run_name(replace(spec, generation=spec.generation + n), 1) for n in range(1, spec.warm + 1))
    if job.state in FINAL:
        return ()
    return tuple(run_name(spec, job.attempt + n) for n in range(1, spec.warm + 1))


def may_stay(job: Job) -> frozenset[str]:
    """Of sandboxes that are held: also that of the run which is about to begin."""
    if job.gone or job.evicted or (job.state is JobState.STOPPING and job.reason == "withdrawn"):
        return frozenset()
    if job.state in FINAL and job.successor is None:
        return frozenset(to_hold(job))
    heading_for = job.successor or job.spec
    return frozenset((*to_hold(job), run_name(heading_for, 1), run_name(job.spec, job.attempt + 1), job.run))


def _kind_of(spec: JobSpec) -> JobSpec:
    """All of it that a sandbox is made of: a batch job's next generation is expected to differ in its number alone."""
    return replace(spec, generation=0)


class Warm:
    """What is held now, by job; `submit` orders what should be different."""

    def __init__(self, submit: Submit) -> None:
        self._submit = submit
        self._held: dict[str, dict[str, JobSpec | None]] = {}  # job -> run -> made from; None = by an agent before
        self._begun = False

    def begin(self, runs: Iterable[str], jobs: Mapping[str, Job]) -> frozenset[str]:
        """From now on sandboxes are made. Of those that the launcher holds already, the ones that belong to no job."""
        nobodys = set(runs)
        for job_id, job in jobs.items():
            mine = nobodys & may_stay(job)
            nobodys -= mine
            if mine:
                self._held[job_id] = dict.fromkeys(mine)
        self._begun = True
        for job_id, job in jobs.items():
            self.follow(job_id, job)
        return frozenset(nobodys)

    def holds(self, job_id: str, run: str) -> bool:
        return run in self._held.get(job_id, ())

    def follow(self, job_id: str, job: Job | None) -> None:
        """The job has changed; None = it is forgotten."""
        held = self._held.get(job_id, {})
        if not self._begun or not (held or (job is not None and job.spec.warm)):
            return
        if job is not None:
            held.pop(job.run, None)  # used
        stay = may_stay(job) if job is not None else frozenset[str]()
        for run in [run for run, made in held.items() if run not in stay or _stale(made, job)]:
            del held[run]
            self._submit(job_id, RemoveRun(run))
        if job is not None and job.image and (job.state is JobState.RUNNING or job.state in FINAL):
            for run in to_hold(job):
                if run not in held:
                    held[run] = job.spec
                    self._submit(job_id, Hold(run, job.spec, job.image))
        if held:
            self._held[job_id] = held
        else:
            self._held.pop(job_id, None)


def _stale(made: JobSpec | None, job: Job | None) -> bool:
    return made is not None and job is not None and _kind_of(made) != _kind_of(job.successor or job.spec)
