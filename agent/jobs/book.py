"""The runner's book: every job, meter, chain and what tenants have spent, and what of it is not on disk yet. Pure.

Each method changes the book and notes the change; it returns the actions that may be taken once `take` was committed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from agent.jobs import admission, budget, machine, metering, moves
from agent.jobs.admission import Account, Admit, Decision, Preempt, Refusal
from agent.jobs.budget import Spending
from agent.jobs.job import (
    HOLDS_ROOM,
    LIVE,
    Action,
    Admitted,
    Event,
    Evicted,
    Exited,
    HostRebooted,
    Job,
    LostRun,
    Rejected,
    Started,
    Waits,
)
from agent.jobs.metering import ChainHead, Meter, Reading
from agent.jobs.reconcile import reconcile
from agent.jobs.room import Capacity, Holder
from agent.jobs.store import Change, Snapshot
from agent.model import ChainLink, Health, JobState, JobView, UsageSeal
from agent.model import Event as Report
from agent.spec import Desired, Prices, Priority, Tenant

Actions = list[tuple[str, Action]]
_NANO = 1_000_000_000
_WAITING = (JobState.PENDING, JobState.REJECTED)


class Book:
    def __init__(self, snapshot: Snapshot) -> None:
        self.jobs = dict(snapshot.jobs)
        self.meters = dict(snapshot.meters)
        self.spending = dict(snapshot.spending)
        self.boot_id = snapshot.boot_id
        self._heads = dict(snapshot.heads)
        self._tenants: dict[str, Tenant] = {}
        self._change = Change()
        self.stirred = False  # a job waits for admission, or room must be given back, since this was last cleared
        self.unsealed = bool(self._heads)  # something was billed that no seal stands for, as far as is known

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
        if isinstance(event, Started) and event.run == job.run and job.state in LIVE and event.run not in self.meters:
            self._open_meter(job, event)
        if isinstance(event, Exited | LostRun):
            if reading is not None:
                self.read_meter(event.run, reading)
            self._close_meter(event.run)
        if after != job:
            self._put(after)
        self._change.outbox += [command for command in commands if isinstance(command, Report)]
        return [(job_id, command) for command in commands if not isinstance(command, Report)]

    def look_at(self, run: str, reading: Reading) -> None:
        """Count the run's memory up to `reading`; on disk too, so that a crash doesn't flatten what came and went."""
        meter = self.meters.get(run)
        if meter is not None:
            self.meters[run] = self._change.meters[run] = metering.look(meter, reading)

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
        self.unsealed = True
        spending = budget.account(self._spent(meter.tenant), sample)
        self.spending[meter.tenant] = self._change.spending[meter.tenant] = spending
        tenant = self._tenants.get(meter.tenant)
        if tenant is not None and budget.exhausted(tenant, spending):
            self.stirred = True

    def heads(self) -> tuple[ChainLink, ...]:
        """The newest link of every tenant's chain, for metering.seal_text."""
        return tuple(ChainLink(tenant, head.index, head.hash) for tenant, head in sorted(self._heads.items()))

    def seal(self, seal: UsageSeal) -> Actions:
        """The node has signed these heads. What was billed meanwhile waits for the next seal."""
        self._change.outbox.append(seal)
        self.unsealed = seal.heads != self.heads()
        return []

    def cut(self, month: int) -> dict[str, str]:
        """Jobs whose network must be cut in `month` (see budget.month_of), and why."""
        cut: dict[str, str] = {}
        for job_id, job in self.jobs.items():
            tenant = self._tenants.get(job.spec.tenant)
            if job.state in LIVE and tenant is not None:
                why = budget.network_spent(job.spec, tenant, self._spent(tenant.id), month)
                if why:
                    cut[job_id] = why
        return cut

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
        self._learn(desired.tenants)
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
        """Stop what has lost its right to room; start what waits and has room, by class and then as desired.

        A job that was promised room holds it against all that come after it.
        """
        actions = self._take_back(capacity, at)
        accounts = {tenant.id: Account(tenant, self._spent(tenant.id)) for tenant in desired.tenants}
        promised: list[Holder] = []
        for job in self._waiting(desired):
            room = _cooled(capacity) if job.first and job.spec.priority is Priority.GUARANTEED else capacity
            decision = admission.decide(job.spec, [*self._holders(), *promised], accounts, room)
            if isinstance(decision, Preempt) and decision.victims:
                why = f"a job of priority {job.spec.priority.name.lower()} takes its room"
                actions += self._evict(decision.victims, why, at)
                again = admission.decide(job.spec, [*self._holders(), *promised], accounts, room)
                decision = again if isinstance(again, Admit) else decision
            if isinstance(decision, Preempt):
                promised.append(Holder(job.spec))
            actions += self.advance(job.spec.id, _verdict(decision, at))
        return actions

    def _take_back(self, capacity: Capacity, at: float) -> Actions:
        actions: Actions = []
        for job_id, job in tuple(self.jobs.items()):
            tenant = self._tenants.get(job.spec.tenant)
            if tenant is None or job.state not in HOLDS_ROOM:
                continue
            broke = budget.exhausted(tenant, self._spent(tenant.id))
            if broke and not moves.leaving(job):
                actions += self.advance(job_id, Evicted("budget", broke, at))
        overdrawn = admission.overdrawn(self._holders(), capacity)
        return actions + (self._evict(overdrawn.victims, overdrawn.message, at) if overdrawn is not None else [])

    def _evict(self, victims: tuple[Holder, ...], message: str, at: float) -> Actions:
        actions: Actions = []
        for victim in victims:
            actions += self.advance(victim.spec.id, Evicted("preempted", message, at))
        return actions

    def _holders(self) -> Iterator[Holder]:
        for job in self.jobs.values():
            room = job.state in HOLDS_ROOM
            if room or job.disk_bytes:
                since = job.starts[-1] if job.starts else float("inf")
                yield Holder(job.spec, since, room, moves.leaving(job), job.disk_bytes)

    def _learn(self, tenants: Iterable[Tenant]) -> None:
        """Prices are noted at once: what is billed right after a start must not be for nothing."""
        self._tenants = {tenant.id: tenant for tenant in tenants}
        for id_, tenant in self._tenants.items():
            prices = tenant.budget.prices if tenant.budget is not None else Prices()
            spending = self._spent(id_)
            if spending.prices != prices:
                self.spending[id_] = self._change.spending[id_] = replace(spending, prices=prices)

    def _spent(self, tenant: str) -> Spending:
        return self.spending.get(tenant, Spending())

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

    def _waiting(self, desired: Desired) -> list[Job]:
        """By class; then those that held room until now, so that an update keeps its place; then as desired."""
        ids = dict.fromkeys(spec.id for spec in desired.jobs)
        waiting = [job for id_ in ids if (job := self.jobs.get(id_)) is not None and job.state in _WAITING]
        return sorted(waiting, key=lambda job: (-job.spec.priority, not job.first))

    def _put(self, job: Job) -> None:
        before = self.jobs.get(job.spec.id)
        held_room = before is not None and before.state in HOLDS_ROOM
        if job.state is JobState.PENDING or (held_room and job.state not in HOLDS_ROOM):
            self.stirred = True
        self.jobs[job.spec.id] = self._change.jobs[job.spec.id] = job

    def _open_meter(self, job: Job, event: Started) -> None:
        """Billing begins when the run began, which a crash may have put some time before the event."""
        begin = Reading(int(event.at * _NANO), event.started_unix_nano, 0, None, disk_bytes=job.disk_bytes)
        spec = job.spec
        meter = Meter(event.run, spec.tenant, spec.id, spec.generation, job.attempt, begin)
        self.meters[event.run] = self._change.meters[event.run] = meter

    def _close_meter(self, run: str) -> None:
        if self.meters.pop(run, None) is not None:
            self._change.meters[run] = None


def _cooled(capacity: Capacity) -> Capacity:
    """For an update of a job that heat would not have stopped."""
    return replace(capacity, heat="")


def _verdict(decision: Decision, at: float) -> Event:
    match decision:
        case Admit():
            return Admitted(at)
        case Preempt(message=message):
            return Waits("waits-for-room", message)
        case Refusal(reason=reason, message=message):
            return Rejected(reason, message)


def _view(job: Job) -> JobView:
    message = job.message
    if not message and job.refused > job.spec.generation:
        message = f"generation {job.refused} was rolled back"
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
        message=message,
        health=job.health if job.state is JobState.RUNNING else Health.UNKNOWN,
        image=job.spec.image,
    )
