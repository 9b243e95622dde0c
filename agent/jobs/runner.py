"""The jobs service: what desired jobs need is held together here; the loop decides, the others act and look."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path

from agent.clock import Clock
from agent.config.schema import JobsConfig
from agent.errors import AwayError, RefusedError, StorageError
from agent.jobs import box, logs, recover
from agent.jobs.actor import Actor, Unseal
from agent.jobs.advertise import Advertiser
from agent.jobs.artifact import Artifacts
from agent.jobs.book import Actions, Book
from agent.jobs.checks import Checks
from agent.jobs.grants import Broker, Grants
from agent.jobs.job import LIVE, Action, Event, Job, Prepare, StopAsked
from agent.jobs.loop import Loop, patiently
from agent.jobs.metering import Reading
from agent.jobs.meters import Meters, Sign
from agent.jobs.names import Names
from agent.jobs.outbox import Outbox
from agent.jobs.prepare import Preparer
from agent.jobs.reaches import Reaches
from agent.jobs.room import Capacity
from agent.jobs.store import JobStore
from agent.jobs.strays import Strays
from agent.jobs.warm import Warm
from agent.model import JobState, JobView, LogLine, Sink
from agent.sandbox import DiskState, HostFacts, RunState, Sandbox
from agent.spec import Desired, JobKind

log = logging.getLogger(__name__)

_FACTS_SECONDS = 30.0


class JobsService:
    """`apply`, `stop_job`, `jobs` and `logs` are for other services; `recovered` is set once every run is re-adopted.

    While the launcher is away, `recovered` waits: whoever waits for it sets a limit.
    """

    name = "jobs"

    def __init__(
        self,
        config: JobsConfig,
        state_dir: Path,
        sandbox: Sandbox,
        record: Sink,
        clock: Clock,
        *,
        images: Artifacts,
        unseal: Unseal,
        sign: Sign,
        node_name: str,
        broker: Broker | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._clock = clock
        self._store = JobStore(state_dir / "jobs.db")
        self._outbox = Outbox(self._store, record, on_takes=self._stir)
        self._loop = Loop(
            self._store,
            clock,
            settle=self._settle,
            follow=self._follow,
            perform=self._perform,
            reported=self._outbox.wake,
        )
        self._preparer = Preparer(sandbox, images.fetch, clock, self._post)
        self._reaches = Reaches(sandbox, Names(), config.name_refresh_seconds)
        self._has_broker = broker is not None
        self._grants = Grants(broker)
        self._actor = Actor(
            sandbox,
            clock,
            self._post,
            still_wanted=self._still_wanted,
            reaches=self._reaches,
            unseal=unseal,
            grant=self._grants.secrets,
        )
        self._checks = Checks(sandbox, clock, self._post)
        self._warm = Warm(self._actor.submit)
        self._meters = Meters(
            self._loop,
            self._actor.read,
            sign,
            usage_interval_seconds=config.usage_interval_seconds,
            seal_interval_seconds=config.seal_interval_seconds,
        )
        self._advertiser = Advertiser(node_name, config.advertise_interfaces)
        self._strays = Strays(sandbox, self._is_stray)
        self._policy = self._own_policy = box.policy_of(config)
        self._book: Book | None = None
        self._desired: Desired | None = None
        self._host: HostFacts | None = None
        self._launcher: HostFacts | str = "not asked yet"
        self._room: Capacity | None = None
        self._heat = ""
        self._found: tuple[RunState, ...] = ()
        self._disks: tuple[DiskState, ...] = ()
        self.recovered = asyncio.Event()

    # --- for the other services ---

    async def apply(self, desired: Desired) -> None:
        """Make `desired` so, from now on. The caller keeps it on disk and applies it again after each start."""
        self._desired = desired
        self._grants.know(desired.tenants)
        self._policy = box.usable(desired.store) if desired.store is not None else self._own_policy
        self._loop.post(self._reconcile)

    def configure(self, config: JobsConfig) -> None:
        """What the store keeps for itself while central has said nothing of it; the rest is of the start."""
        self._own_policy = box.policy_of(config)
        if self._desired is None or self._desired.store is None:
            self._policy = self._own_policy
        self._stir()

    def jobs(self) -> tuple[JobView, ...]:
        return self._book.views() if self._book is not None else ()

    def feel(self, heat: str) -> None:
        """Why the box is too hot for the work of tenants, from now on; empty: it isn't any more."""
        self._heat = heat
        self._stir()

    def images(self) -> frozenset[str]:
        """The references that jobs here name: their images are kept. One that was withdrawn keeps none."""
        jobs = [job for job in self._book.jobs.values() if not job.gone] if self._book is not None else []
        specs = [spec for job in jobs for spec in (job.spec, job.successor, job.proven) if spec is not None]
        return frozenset(spec.image for spec in (*specs, *(self._desired.jobs if self._desired is not None else ())))

    def launcher(self) -> HostFacts | str:
        """What the launcher said of this machine less than a minute ago, or why it couldn't be asked."""
        return self._launcher

    async def stop_job(self, job_id: str) -> None:
        """Stop the current run. Returns once the order is on disk.

        Raises RefusedError (NOT_FOUND, CONFLICT), AwayError before the service runs.
        """
        if self._book is None:
            raise AwayError("jobs are not loaded yet")
        job = self._book.jobs.get(job_id)
        if job is None or job.gone:
            raise RefusedError("NOT_FOUND", f"no job {job_id}")
        waits = job.state in (JobState.PREPARING, JobState.BACKING_OFF) and job.spec.kind is JobKind.BATCH
        if job.state not in (JobState.STARTING, JobState.RUNNING) and not waits:
            raise RefusedError("CONFLICT", f"job {job_id} is {job.state}: nothing to stop")
        event = StopAsked(self._clock.seconds())
        self._loop.post(lambda book: book.advance(job_id, event))
        await self._loop.settled()

    def logs(self, job_id: str, tail_bytes: int, follow: bool) -> AsyncIterator[list[LogLine]]:
        """Lines of the newest run, beginning with the last `tail_bytes` of its log; see logs.read.

        Raises RefusedError(NOT_FOUND) for an unknown job and for one that has not run.
        """
        job = self._book.jobs.get(job_id) if self._book is not None else None
        if job is None or job.gone or not job.run:
            raise RefusedError("NOT_FOUND", f"no log of job {job_id}")
        run = job.run

        def ended() -> bool:
            now = self._book.jobs.get(job_id) if self._book is not None else None
            return now is None or now.run != run or now.state not in LIVE

        return logs.read(lambda: self._sandbox.open_log(run), tail_bytes, follow=follow, ended=ended)

    # --- the service ---

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Until `stop`. Jobs are left running: the next start adopts them."""
        snapshot = await patiently(lambda: self._store.open(self._clock.wall_nano()), beat)
        book = self._book = Book(snapshot)
        self._grants.begin(book.jobs)
        self._loop.post(self._notice_reboot)
        works = {
            "loop": self._loop.run(book, beat),
            "actor": self._actor.run(),
            "recover": self._recover(book),
            "meters": self._meters.run(book),
            "strays": self._strays.run(),
            "images": self._preparer.run(),
            "checks": self._checks.run(),
            "reaches": self._reaches.run(),
            "advertise": self._advertiser.run(),
        }
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work, name=f"jobs.{name}") for name, work in works.items()]
                group.create_task(self._outbox.run(), name="jobs.outbox")
                await stop.wait()
                await self._meters.seal_at_the_end(book)
                self._outbox.finish()
                for task in tasks:
                    task.cancel()  # at any point: what is on disk is enough to go on from
        finally:
            await self._store.close()

    def _settle(self, book: Book) -> Actions:
        """At each turn: jobs wait, room came free, hours or a month have begun, bytes are used up.

        Nothing starts before it is known what already runs and what this box has.
        """
        if self._desired is None or self._host is None:
            return []
        now, takes = self._clock.wall_nano(), self._outbox.spool_takes
        room = box.capacity(self._host, self._policy, now, spool_takes=takes, broker=self._has_broker, heat=self._heat)
        actions: Actions = []
        if book.stirred or room != self._room:
            self._room = room
            book.stirred = False
            actions = book.reconcile(self._desired, self._clock.seconds())
            actions += book.admit(self._desired, room, self._clock.seconds())
            book.stirred = False
        self._reaches.cut(book.cut(room.month))
        return actions

    def _reconcile(self, book: Book) -> Actions:
        if self._desired is None or self._host is None:
            return []
        book.stirred = True
        actions: Actions = []
        found, self._found = self._found, ()
        for state in found:
            job = recover.adopted(state, self._desired.jobs, book.jobs)
            if job is not None:
                actions += book.adopt(job)
            else:
                self._strays.add(state)
        disks, self._disks = self._disks, ()
        for disk in recover.orphans(disks, self._desired.jobs, book.jobs):
            self._strays.add(disk)
        return actions + book.reconcile(self._desired, self._clock.seconds())

    async def _recover(self, book: Book) -> None:
        """Find again what ran on while the agent was away; then make sandboxes ahead, and look after the launcher."""
        host = await patiently(self._sandbox.hello)
        runs = await patiently(self._sandbox.list_runs)
        disks = await patiently(self._sandbox.disks)

        def resume(book: Book) -> Actions:
            self._host = self._launcher = host
            self._found = recover.strays((run for run in runs if run.phase != "held"), book.jobs)
            self._disks = disks
            return book.resume() + self._reconcile(book)

        self._loop.post(resume)
        await self._loop.settled()
        await self._actor.settled()
        await self._loop.settled()
        log.info("jobs re-adopted", extra={"runs": len(runs), "live": len(book.meters)})
        self.recovered.set()
        held = {run.run: run for run in await patiently(self._sandbox.list_runs) if run.phase == "held"}
        self._loop.post(partial(self._begin_to_hold, held))
        await self._keep_facts()

    def _begin_to_hold(self, held: Mapping[str, RunState], book: Book) -> Actions:
        for run in self._warm.begin(held, book.jobs):
            self._strays.add(held[run])
        return []

    async def _keep_facts(self) -> None:
        """Root's policy and the launcher itself may change while it is away for a moment."""
        while True:
            await asyncio.sleep(_FACTS_SECONDS)
            try:
                self._host = self._launcher = await self._sandbox.hello()
            except (AwayError, StorageError, RefusedError) as error:
                self._launcher = str(error)

    def _notice_reboot(self, book: Book) -> Actions:
        """Before any timer is looked at: times of another boot mean nothing in this one."""
        if book.boot_id == self._clock.boot_id:
            return []
        return book.reboot(self._clock.boot_id, self._clock.seconds())

    # --- small ---

    def _follow(self, job_id: str, job: Job | None) -> None:
        for follower in (self._grants, self._preparer, self._checks, self._reaches, self._warm, self._advertiser):
            follower.follow(job_id, job)

    def _perform(self, job_id: str, action: Action) -> None:
        if isinstance(action, Prepare):
            self._preparer.begin(job_id, action.spec.image)
        else:
            self._actor.submit(job_id, action)

    def _post(self, job_id: str, event: Event, reading: Reading | None = None) -> None:
        self._loop.post(lambda book: book.advance(job_id, event, reading))

    def _stir(self) -> None:
        self._loop.post(self._reconcile)

    def _is_stray(self, stray: RunState | DiskState) -> bool:
        """Still: its job may have come back while the launcher was away."""
        if self._book is None or self._desired is None:
            return False
        if isinstance(stray, DiskState):
            return bool(recover.orphans([stray], self._desired.jobs, self._book.jobs))
        return bool(recover.strays([stray], self._book.jobs))

    def _still_wanted(self, job_id: str, run: str) -> bool:
        if self._warm.holds(job_id, run):
            return True
        job = self._book.jobs.get(job_id) if self._book is not None else None
        return job is not None and job.run == run and job.state is JobState.STARTING
