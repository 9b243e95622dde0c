"""Random histories of a whole box against the book: desired states, exits, crashes, reboots, trading hours, money.

The world keeps what a disk and a launcher would keep. 60 histories with `./dev test`, 2,000 with EDGE_FUZZ=full.
"""

import os
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.jobs import budget, machine, recover, rows
from agent.jobs.book import Book
from agent.jobs.job import (
    HOLDS_ROOM,
    Exited,
    Healthy,
    Kill,
    LostRun,
    Prepare,
    Prepared,
    PrepareFailed,
    RemoveDisk,
    RemoveRun,
    Started,
    StartRun,
    Stop,
    StopAsked,
    Unhealthy,
    WatchRun,
)
from agent.jobs.metering import ChainHead, Reading, chain_hash
from agent.jobs.moves import leaving
from agent.jobs.room import Capacity
from agent.jobs.store import Snapshot
from agent.model import JobState, UsageSample
from agent.sandbox import DiskState
from agent.spec import (
    Budget,
    Desired,
    JobKind,
    Limits,
    Prices,
    Priority,
    Quota,
    Reserve,
    RestartMode,
    RestartPolicy,
    Tenant,
)
from agent.spec import HealthCheck as Check
from tests.fakes.jobs import batch, service

EXAMPLES = 2_000 if os.environ.get("EDGE_FUZZ") == "full" else 60
NANO = 1_000_000_000
DIGEST = "sha256:" + "ab" * 32
OPENED, CLOSED = Reserve(1000), Reserve(200)
BOX = Capacity(2000, 1 << 30, True, disk_bytes=1 << 30, runs=6, reserve=CLOSED, largest=OPENED)
TENANTS = (
    Tenant("acme", quota=Quota(6, 2000, 1 << 30, 1 << 30)),
    Tenant("bolt", quota=Quota(2, 1500, 1 << 30), budget=Budget(40, Prices(cpu_core_hour_micro=3_600_000))),
    Tenant("shop", quota=Quota(9, 2000, 1 << 30), store=True),
)


def a_spec(which, generation, cpu, priority, kind, mode, image, trial):
    tenant = "shop" if priority is Priority.STORE else ("acme", "bolt")[which % 2]
    changes = {
        "generation": generation,
        "tenant": tenant,
        "limits": Limits(cpu, 32 << 20, disk_bytes=(1 << 20) * (which == 0)),
        "priority": priority,
        "restart": RestartPolicy(mode, max_attempts=3, window_seconds=50),
        "image": "host" if image is None else f"shop.example/{image}@{DIGEST}",
    }
    if kind is JobKind.BATCH:
        return batch(f"j{which}", **changes)
    return service(f"j{which}", **changes, health=trial, healthy_seconds=20 * (generation % 2))


SPECS = st.builds(
    a_spec, st.integers(0, 4), st.integers(1, 4), st.sampled_from([100, 400, 900]), st.sampled_from(Priority),
    st.sampled_from(JobKind), st.sampled_from(RestartMode), st.sampled_from([None, "app"]),
    st.sampled_from([None, Check(tcp_port=80)]),
)  # fmt: skip
DESIRED = st.lists(SPECS, min_size=1, max_size=5, unique_by=lambda spec: spec.id).map(tuple)
ANY = st.integers(0, 7)
MOVES = st.lists(
    st.one_of(
        *[st.tuples(st.just("desire"), DESIRED)] * 3,
        *[st.tuples(st.just("answer"), ANY)] * 6,
        *[st.tuples(st.just("exit"), st.tuples(ANY, st.sampled_from([0, 0, 1])))] * 3,
        st.tuples(st.just("check"), st.tuples(ANY, st.booleans())),
        st.tuples(st.just("stop"), ANY),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 3.0, 11.0, 60.0])),
        st.tuples(st.just("bill"), st.integers(0, 9)),
        st.tuples(st.just("hours"), st.booleans()),
        st.tuples(st.just("wall"), st.integers(-(10**6), 10**6)),
        st.tuples(st.just("crash"), st.none()),
        st.tuples(st.just("die"), st.none()),
        st.tuples(st.just("reboot"), st.none()),
    ),
    min_size=30,
    max_size=60,
)


class World:
    """One box. The book is thrown away at each crash and read from what was committed."""

    def __init__(self) -> None:
        self.now, self.wall, self.boot = 1000.0, 0, 0
        self.box, self.desired = BOX, Desired(1, TENANTS)
        self.rows: dict[str, str] = {}
        self.meters: dict[str, str] = {}
        self.spending: dict[str, str] = {}
        self.heads: dict[str, ChainHead] = {}
        self.samples: list[UsageSample] = []
        self.runs: dict[str, int | None] = {}  # what the launcher holds: exit code, or None while it runs
        self.cpu: Counter[str] = Counter()
        self.started: list[tuple[str, object]] = []
        self.disks: set[tuple[str, str]] = set()
        self.answers: list[tuple[str, object]] = []
        self.newest: dict[str, int] = {}
        self.dying = False
        self.book = self.load()

    def load(self) -> Book:
        return Book(
            Snapshot(
                {id_: rows.job_from_json(text) for id_, text in self.rows.items()},
                {run: rows.meter_from_json(text) for run, text in self.meters.items()},
                dict(self.heads),
                f"boot-{self.boot}",
                {tenant: rows.spending_from_json(text) for tenant, text in self.spending.items()},
            )
        )

    def turn(self, actions) -> None:
        """As the loop does: timers, the desired state, admission; then the disk; then the actions."""
        for id_, job in tuple(self.book.jobs.items()):
            timer = machine.due(job)
            if timer is not None and timer[0] <= self.now:
                actions += self.book.advance(id_, timer[1](self.now))
        actions += self.book.reconcile(self.desired, self.now)
        actions += self.book.admit(self.desired, self.box, self.now)
        self.commit()
        if self.dying:  # between the disk and the deed
            self.dying = False
            actions = self.crash(None)
            self.commit()
        for id_, action in actions:
            self.obey(id_, action)
        self.holds()

    def commit(self) -> None:
        change = self.book.take()
        for table, changed, write in (
            (self.rows, change.jobs, rows.job_to_json),
            (self.meters, change.meters, rows.meter_to_json),
            (self.spending, change.spending, rows.spending_to_json),
        ):
            for key, value in changed.items():
                if value is None:
                    table.pop(key, None)
                else:
                    table[key] = write(value)
        self.heads |= change.heads
        self.samples += [body for body in change.outbox if isinstance(body, UsageSample)]

    def obey(self, id_, action) -> None:
        match action:
            case StartRun(before=before):
                self.start(id_, action)
                assert not before or self.runs.pop(before, 0) is not None, f"{before} is removed while it runs"
            case WatchRun(run=run) | Stop(run=run) | Kill(run=run):
                if run not in self.runs:
                    self.answers.append((id_, LostRun(run, self.now)))
                elif self.runs[run] is None and isinstance(action, Kill):
                    self.end(run, 137)
                elif self.runs[run] is not None and isinstance(action, WatchRun):
                    self.end(run, self.runs[run])
            case RemoveRun(run=run):
                assert self.runs.pop(run, 0) is not None, f"{run} is removed while it runs"
            case RemoveDisk(tenant=tenant, job=job):
                self.disks.discard((tenant, job))
            case Prepare(spec=spec) if spec.generation == 4:
                self.answers.append((id_, PrepareFailed(spec.image, "too big", self.now)))
            case Prepare(spec=spec):
                self.answers.append((id_, Prepared(spec.image, DIGEST, self.now)))

    def start(self, id_, order) -> None:
        run, spec = order.run, order.spec
        assert order.image == ("host" if spec.image == "host" else DIGEST)
        if run not in self.runs:
            assert run not in [name for name, _ in self.started], f"{run} is started twice"
            self.started.append((run, spec))
            self.runs[run] = None
            if spec.limits.disk_bytes:
                self.disks.add((spec.tenant, spec.id))
        self.answers.append((id_, Started(run, 7, self.nanos(), self.now)))

    def end(self, run, code) -> None:
        self.runs[run] = code
        self.answers.append((run.split(".")[0], Exited(run, code, False, self.nanos(), self.now)))

    def nanos(self) -> int:
        return int(self.now * NANO) + self.wall

    def reading(self, run) -> Reading:
        return Reading(int(self.now * NANO), max(0, self.nanos()), self.cpu[run], 1 << 20)

    # --- moves ---

    def desire(self, specs) -> None:
        """Generations never shrink: a lower one is left alone, also when its job is gone."""
        for spec in specs:
            self.newest[spec.id] = max(spec.generation, self.newest.get(spec.id, 0))
        raised = tuple(replace(spec, generation=self.newest[spec.id]) for spec in specs)
        self.desired = Desired(self.desired.revision + 1, TENANTS, raised)

    def answer(self, which):
        if not self.answers:
            return []
        id_, event = self.answers.pop(which % len(self.answers))
        event = replace(event, at=self.now) if hasattr(event, "at") else event
        last = self.reading(event.run) if isinstance(event, Exited) else None
        return self.book.advance(id_, event, last)

    def exit(self, what) -> None:
        which, code = what
        live = sorted(run for run, ended in self.runs.items() if ended is None)
        if live:
            self.end(live[which % len(live)], code)

    def check(self, what) -> None:
        which, passed = what
        watched = sorted(
            id_ for id_, job in self.book.jobs.items() if job.state is JobState.RUNNING and job.spec.health
        )
        if watched:
            run = self.book.jobs[watched[which % len(watched)]].run
            event = Healthy(run, self.now) if passed else Unhealthy(run, "no answer", self.now)
            self.answers.append((watched[which % len(watched)], event))

    def stop(self, which):
        known = sorted(self.book.jobs)
        return self.book.advance(known[which % len(known)], StopAsked(self.now)) if known else []

    def wait(self, seconds) -> None:
        self.now += seconds

    def bill(self, milliseconds) -> None:
        for run in tuple(self.book.meters):
            self.cpu[run] += milliseconds * 1_000_000
            self.book.read_meter(run, self.reading(run))

    def hours(self, opened) -> None:
        self.box = replace(BOX, reserve=OPENED if opened else CLOSED)

    def wall_(self, seconds) -> None:
        self.wall += seconds * NANO

    def die(self, _) -> None:
        self.dying = True

    def crash(self, _):
        self.answers.clear()
        self.book = self.load()
        found = [DiskState(tenant, job, 1) for tenant, job in self.disks]
        for disk in recover.orphans(found, self.desired.jobs, self.book.jobs):
            self.disks.discard((disk.tenant, disk.job))
        return self.book.resume()

    def reboot(self, _):
        self.boot, self.now = self.boot + 1, 5.0
        self.runs.clear()
        self.answers.clear()
        self.cpu.clear()
        self.book = self.load()
        return self.book.reboot(f"boot-{self.boot}", self.now) + self.book.resume()

    # --- what always holds ---

    def holds(self) -> None:
        jobs = self.book.jobs.values()
        room = [job for job in jobs if job.state in HOLDS_ROOM]
        assert len(room) <= BOX.runs
        assert sum(job.spec.limits.cpu_milli for job in room) <= BOX.cpu_milli
        staying = [job for job in room if not leaving(job) and job.spec.priority is not Priority.STORE]
        sure = [job for job in staying if job.spec.priority is Priority.GUARANTEED]
        if len(staying) > len(sure):
            assert sum(job.spec.limits.cpu_milli for job in staying) <= BOX.cpu_milli - self.box.reserve.cpu_milli
        assert sum(job.spec.limits.cpu_milli for job in sure) <= BOX.cpu_milli - OPENED.cpu_milli
        for tenant in TENANTS:
            own = [job for job in room if job.spec.tenant == tenant.id]
            assert len(own) <= tenant.quota.jobs
            assert sum(job.spec.limits.cpu_milli for job in own) <= tenant.quota.cpu_milli
        live = Counter(run.split(".")[0] for run, ended in self.runs.items() if ended is None)
        assert all(number == 1 for number in live.values()), f"two runs of one job: {live}"
        once = Counter(
            (spec.id, spec.generation)
            for _, spec in self.started
            if spec.kind is JobKind.BATCH and spec.restart.mode is RestartMode.NEVER
        )
        assert all(number == 1 for number in once.values()), f"a batch job ran twice: {once}"

    def comes_to_rest(self) -> None:
        """Nothing new happens but what must: asked to stop, runs end; orders are answered; time passes."""
        for _ in range(40):
            for job in tuple(self.book.jobs.values()):
                if job.state is JobState.STOPPING and self.runs.get(job.run, 0) is None:
                    self.end(job.run, 143)
            self.turn([])
            while self.answers:
                self.turn(self.answer(0))
            self.now += 1.0
        wanted = {spec.id for spec in self.desired.jobs}
        for id_, job in self.book.jobs.items():
            assert job.state not in (JobState.STARTING, JobState.STOPPING, JobState.PREPARING), job
            assert job.state is not JobState.PENDING, job
            assert job.gone == (id_ not in wanted), job
            assert job.successor is None or job.state is JobState.RUNNING
            assert (self.runs.get(job.run, 0) is None) == (job.state is JobState.RUNNING), job
        assert wanted <= set(self.book.jobs)
        kept = {(job.spec.tenant, job.spec.id) for job in self.book.jobs.values() if job.disk_bytes}
        assert self.disks <= kept

    def adds_up(self) -> None:
        previous: dict[str, tuple[int, bytes]] = {}
        for sample in self.samples:
            index, hash_ = previous.get(sample.tenant, (0, bytes(32)))
            assert sample.chain_index == index + 1 and sample.chain_hash == chain_hash(hash_, sample)
            previous[sample.tenant] = sample.chain_index, sample.chain_hash
        spent = sum(s.cpu_nano for s in self.samples if s.tenant == "bolt") // 1_000_000
        assert self.book.spending.get("bolt", budget.Spending()).micro == spent


@pytest.mark.timeout(600)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(MOVES)
def test_whatever_happens_the_box_keeps_its_promises(moves) -> None:
    world = World()
    for name, detail in moves:
        done = getattr(world, "wall_" if name == "wall" else name)(detail)
        world.turn(done or [])
    world.comes_to_rest()
    world.adds_up()
