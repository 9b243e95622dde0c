"""The runner's book: every job, meter and chain, and what of it is not on disk yet. No I/O, no clock.

Each method changes the book and notes the change; it returns the actions that may be taken once `take` was committed.
"""

from collections.abc import Iterator

from agent.jobs import admission, machine, metering, moves
from agent.jobs.admission import Account, Refusal
from agent.jobs.job import (
    HOLDS_ROOM,
    Action,
    Admitted,
    Event,
    Exited,
    HostRebooted,
    Job,
    LostRun,
    Rejected,
    Started,
)
from agent.jobs.metering import ChainHead, Meter, Reading
from agent.jobs.reconcile import reconcile
from agent.jobs.room import Capacity, Holder
from agent.jobs.store import Change, Snapshot
from agent.model import Event as Report
from agent.model import JobState, JobView
from agent.spec import Desired

Actions = list[tuple[str, Action]]
_NANO = 1_000_000_000
_WAITING = (JobState.PENDING, JobState.REJECTED)


class Book:
    def __init__(self, snapshot: Snapshot) -> None:
        self.jobs = dict(snapshot.jobs)
        self.meters = dict(snapshot.meters)
        self.boot_id = snapshot.boot_id
        self._heads = dict(snapshot.heads)
        self._change = Change()
        self.stirred = False  # a job waits for admission, or has given its room back, since this was last cleared

    def take(self) -> Change:
        """What has changed since the last call; commit it before any of the actions."""
        change, self._change = self._change, Change()
        return change

    def advance(self, job_id: str, event: Event, reading: Reading | None = None) -> Actions:
        """One event of one job; `reading` is the last one of the run that ended, if it could be taken."""
        job = self.jobs.get(job_id)
        if job is None:
            return []
        after, commands = machine.step(job, event)
        if isinstance(event, Started) and event.run == job.run and event.run not in self.meters:
            self._open_meter(job, event)
        if isinstance(event, Exited | LostRun):
            if reading is not None:
                self.read_meter(event.run, reading)
            self._close_meter(event.run)
        if after != job:
            self._put(after)
        self._change.outbox += [command for command in commands if isinstance(command, Report)]
        return [(job_id, command) for command in commands if not isinstance(command, Report)]

    def read_meter(self, run: str, reading: Reading) -> None:
        """Bill the run up to `reading`. A run whose meter was closed is left alone: its bill is final."""
        meter = self.meters.get(run)
        if meter is None:
            return
        head = self._heads.get(meter.tenant, ChainHead())
        meter, head, sample = metering.bill(meter, reading, head)
        self.meters[run] = self._change.meters[run] = meter
        self._heads[meter.tenant] = self._change.heads[meter.tenant] = head
        self._change.outbox.append(sample)

    def reboot(self, boot_id: str, at: float) -> Actions:
        """The box has restarted since the book was written: all runs are gone, their last windows unknown."""
        actions: Actions = []
        for run in tuple(self.meters):
            self._close_meter(run)
        for job_id in tuple(self.jobs):
            actions += self.advance(job_id, HostRebooted(at))
        self.boot_id = self._change.boot_id = boot_id
        return actions

    def reconcile(self, desired: Desired, at: float) -> Actions:
        """Towards the desired state."""
        plan = reconcile(desired.jobs, self.jobs, at)
        actions: Actions = []
        for spec in plan.create:
            job = Job(spec)
            self._put(job)
            self._change.outbox.append(moves.report(job))
        for job_id, event in plan.advance:
            actions += self.advance(job_id, event)
        for job_id in plan.forget:
            del self.jobs[job_id]
            self._change.jobs[job_id] = None
        return actions

    def admit(self, desired: Desired, capacity: Capacity, at: float) -> Actions:
        """Start what waits and has room, in the order of the desired state."""
        tenants = {tenant.id: Account(tenant) for tenant in desired.tenants}
        actions: Actions = []
        for job in self._waiting(desired):
            holders = [Holder(other.spec) for other in self.jobs.values() if other.state in HOLDS_ROOM]
            decision = admission.decide(job.spec, holders, tenants, capacity)
            event = Rejected(decision.reason, decision.message) if isinstance(decision, Refusal) else Admitted(at)
            actions += self.advance(job.spec.id, event)
        return actions

    def adopt(self, job: Job) -> Actions:
        """Take over a job whose run was found though the book knew nothing of it: its database was lost."""
        self._put(job)
        self._change.outbox.append(moves.report(job))
        return [(job.spec.id, action) for action in machine.resume(job)]

    def resume(self) -> Actions:
        """Order again whatever may have been under way when the agent went."""
        return [(job_id, action) for job_id, job in self.jobs.items() for action in machine.resume(job)]

    def views(self) -> tuple[JobView, ...]:
        shown = (job for job in self.jobs.values() if not job.gone)
        return tuple(_view(job) for job in sorted(shown, key=lambda job: job.spec.id))

    def _waiting(self, desired: Desired) -> Iterator[Job]:
        for job_id in dict.fromkeys(spec.id for spec in desired.jobs):
            job = self.jobs.get(job_id)
            if job is not None and job.state in _WAITING:
                yield job

    def _put(self, job: Job) -> None:
        before = self.jobs.get(job.spec.id)
        held_room = before is not None and before.state in HOLDS_ROOM
        if job.state is JobState.PENDING or (held_room and job.state not in HOLDS_ROOM):
            self.stirred = True
        self.jobs[job.spec.id] = self._change.jobs[job.spec.id] = job

    def _open_meter(self, job: Job, event: Started) -> None:
        """Billing begins when the run began, which a crash may have put some time before the event."""
        begin = Reading(int(event.at * _NANO), event.started_unix_nano, cpu_nano=0, memory_bytes=None)
        spec = job.spec
        meter = Meter(event.run, spec.tenant, spec.id, spec.generation, job.attempt, begin)
        self.meters[event.run] = self._change.meters[event.run] = meter

    def _close_meter(self, run: str) -> None:
        if self.meters.pop(run, None) is not None:
            self._change.meters[run] = None


def _view(job: Job) -> JobView:
    return JobView(
        id=job.spec.id,
        generation=job.spec.generation,
        tenant=job.spec.tenant,
        state=job.state,
        reason=job.reason,
        attempt=job.attempt,
        exit_code=job.exit_code,
        pid=job.pid,
        started_unix_nano=job.started_unix_nano,
        ended_unix_nano=job.ended_unix_nano,
    )
