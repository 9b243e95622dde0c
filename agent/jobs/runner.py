"""The jobs service: one loop through which everything that happens to a job passes, in order. Disk first, then act."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from agent.clock import Clock
from agent.config.schema import JobsConfig
from agent.errors import AwayError, RefusedError, StorageError
from agent.jobs import logs, machine, recover
from agent.jobs.actor import Actor
from agent.jobs.admission import Capacity
from agent.jobs.book import Actions, Book
from agent.jobs.job import LIVE, RunEvent, StopAsked
from agent.jobs.metering import Reading
from agent.jobs.outbox import Outbox
from agent.jobs.store import JobStore
from agent.model import JobState, JobView, LogLine, Sink
from agent.sandbox import HostFacts, RunState, Sandbox
from agent.spec import Desired, JobKind

log = logging.getLogger(__name__)

_BEAT_SECONDS = 5.0
_RETRY_SECONDS = 0.5
_RETRY_MAX_SECONDS = 5.0
_T = TypeVar("_T")

# One thing to do with the book, done by the loop alone; its actions follow once the book is on disk.
Entry = Callable[[Book], Actions]


class JobsService:
    """`apply`, `stop_job`, `jobs` and `logs` are for other services; `recovered` is set once every run is re-adopted.

    While the launcher is away, `recovered` waits: whoever waits for it sets a limit.
    """

    name = "jobs"

    def __init__(self, config: JobsConfig, state_dir: Path, sandbox: Sandbox, record: Sink, clock: Clock) -> None:
        self._config = config
        self._sandbox = sandbox
        self._clock = clock
        self._store = JobStore(state_dir / "jobs.db")
        self._outbox = Outbox(self._store, record, on_takes=self._stir)
        self._actor = Actor(sandbox, clock, self._post, self._still_wanted)
        self._entries = asyncio.Queue[Entry]()
        self._book: Book | None = None
        self._desired: Desired | None = None
        self._host: HostFacts | None = None
        self._strays: tuple[RunState, ...] = ()
        self._unwanted = asyncio.Queue[RunState]()
        self.recovered = asyncio.Event()

    # --- for the other services ---

    async def apply(self, desired: Desired) -> None:
        """Make `desired` so, from now on. The caller keeps it on disk and applies it again after each start."""
        self._desired = desired
        self._entries.put_nowait(self._reconcile)

    def jobs(self) -> tuple[JobView, ...]:
        return self._book.views() if self._book is not None else ()

    async def stop_job(self, job_id: str) -> None:
        """Stop the current run. Returns once the order is on disk.

        Raises RefusedError (NOT_FOUND, CONFLICT), AwayError before the service runs.
        """
        if self._book is None:
            raise AwayError("jobs are not loaded yet")
        job = self._book.jobs.get(job_id)
        if job is None or job.gone:
            raise RefusedError("NOT_FOUND", f"no job {job_id}")
        retries = job.state is JobState.BACKING_OFF and job.spec.kind is JobKind.BATCH
        if job.state not in (JobState.STARTING, JobState.RUNNING) and not retries:
            raise RefusedError("CONFLICT", f"job {job_id} is {job.state}: nothing to stop")
        event = StopAsked(self._clock.seconds())
        self._entries.put_nowait(lambda book: book.advance(job_id, event))
        await self._entries.join()

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
        snapshot = await self._patiently(lambda: self._store.open(self._clock.wall_nano()), beat)
        self._book = Book(snapshot)
        self._entries.put_nowait(self._notice_reboot)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._work(self._book, beat), name="jobs.loop"),
                    group.create_task(self._actor.run(), name="jobs.actor"),
                    group.create_task(self._recover(self._book), name="jobs.recover"),
                    group.create_task(self._read_meters(self._book), name="jobs.meters"),
                    group.create_task(self._discard_unwanted(), name="jobs.discard"),
                ]
                group.create_task(self._outbox.run(), name="jobs.outbox")
                await stop.wait()
                self._outbox.finish()
                for task in tasks:
                    task.cancel()  # at any point: what is on disk is enough to go on from
        finally:
            await self._store.close()

    async def _work(self, book: Book, beat: Callable[[], None]) -> None:
        while True:
            beat()
            entries = await self._next_entries(book)
            actions = [action for entry in entries for action in entry(book)]
            actions += self._time_is_up(book)
            if book.stirred:
                actions += self._settle_waiting(book)
            await self._commit(book, beat)
            for job_id, action in actions:
                self._actor.submit(job_id, action)
            for _ in entries:
                self._entries.task_done()

    async def _next_entries(self, book: Book) -> list[Entry]:
        """All that wait, at most until the next timer or the next beat."""
        timers = [timer[0] for job in book.jobs.values() if (timer := machine.due(job)) is not None]
        wait = min([_BEAT_SECONDS, *(max(0.0, due - self._clock.seconds()) for due in timers)])
        entries: list[Entry] = []
        try:
            async with asyncio.timeout(wait):
                entries.append(await self._entries.get())
        except TimeoutError:
            pass
        while not self._entries.empty():
            entries.append(self._entries.get_nowait())
        return entries

    def _time_is_up(self, book: Book) -> Actions:
        now = self._clock.seconds()
        actions: Actions = []
        for job_id, job in tuple(book.jobs.items()):
            timer = machine.due(job)
            if timer is not None and timer[0] <= now:
                actions += book.advance(job_id, timer[1](now))
        return actions

    def _settle_waiting(self, book: Book) -> Actions:
        """Jobs wait, or room came free. Nothing starts before it is known what already runs and what this box has."""
        book.stirred = False
        if self._desired is None or self._host is None:
            return []
        actions = self._reconcile(book)
        room = self._capacity(self._host)
        actions += book.admit(self._desired, room, self._clock.seconds())
        book.stirred = False
        return actions

    def _capacity(self, host: HostFacts) -> Capacity:
        return Capacity(
            cpu_milli=max(0, host.cpus * 1000 - self._config.reserve_cpu_milli),
            memory_bytes=max(0, host.memory_bytes - self._config.reserve_memory_bytes),
            memory_controller=host.memory_controller,
            spool_takes=self._outbox.spool_takes,
        )

    def _reconcile(self, book: Book) -> Actions:
        if self._desired is None or self._host is None:
            return []
        book.stirred = True
        actions: Actions = []
        strays, self._strays = self._strays, ()
        for state in strays:
            job = recover.adopted(state, self._desired.jobs, book.jobs)
            if job is not None:
                actions += book.adopt(job)
            else:
                self._unwanted.put_nowait(state)
        return actions + book.reconcile(self._desired, self._clock.seconds())

    async def _commit(self, book: Book, beat: Callable[[], None]) -> None:
        change = book.take()
        if change.is_empty():
            return
        await self._patiently(lambda: self._store.commit(change), beat)
        if change.outbox:
            self._outbox.wake()

    async def _recover(self, book: Book) -> None:
        """Find again what ran on while the agent was away."""
        host = await self._patiently(self._sandbox.hello)
        runs = await self._patiently(self._sandbox.list_runs)

        def resume(book: Book) -> Actions:
            self._host = host
            self._strays = recover.strays(runs, book.jobs)
            return book.resume() + self._reconcile(book)

        self._entries.put_nowait(resume)
        await self._entries.join()
        await self._actor.settled()
        await self._entries.join()
        log.info("jobs re-adopted", extra={"runs": len(runs), "live": len(book.meters)})
        self.recovered.set()

    def _notice_reboot(self, book: Book) -> Actions:
        """Before any timer is looked at: times of another boot mean nothing in this one."""
        if book.boot_id == self._clock.boot_id:
            return []
        return book.reboot(self._clock.boot_id, self._clock.seconds())

    async def _discard_unwanted(self) -> None:
        while True:
            state = await self._unwanted.get()
            log.warning("removing a run that belongs to no job", extra={"run": state.run, "phase": state.phase})
            await self._patiently(partial(self._actor.discard, state))

    async def _read_meters(self, book: Book) -> None:
        while True:
            await asyncio.sleep(self._config.usage_interval_seconds)
            readings: dict[str, Reading] = {}
            try:
                for run in tuple(book.meters):
                    reading = await self._actor.read(run)
                    if reading is not None:
                        readings[run] = reading
            except (AwayError, StorageError) as error:
                log.debug("usage not read", extra={"error": str(error)})
            self._entries.put_nowait(partial(_bill, readings))

    # --- small ---

    def _post(self, job_id: str, event: RunEvent, reading: Reading | None) -> None:
        self._entries.put_nowait(lambda book: book.advance(job_id, event, reading))

    def _stir(self) -> None:
        self._entries.put_nowait(self._reconcile)

    def _still_wanted(self, job_id: str, run: str) -> bool:
        job = self._book.jobs.get(job_id) if self._book is not None else None
        return job is not None and job.run == run and job.state is JobState.STARTING

    async def _patiently(self, work: Callable[[], Awaitable[_T]], beat: Callable[[], None] = lambda: None) -> _T:
        """Until it works: the launcher comes back or is told who may call it, a full disk empties."""
        wait = _RETRY_SECONDS
        while True:
            beat()
            try:
                return await work()
            except (AwayError, StorageError, RefusedError) as error:
                if wait == _RETRY_SECONDS:
                    log.warning("jobs wait", extra={"error": str(error)})
            await asyncio.sleep(wait)
            wait = min(_RETRY_MAX_SECONDS, wait * 2)


def _bill(readings: Mapping[str, Reading], book: Book) -> Actions:
    for run, reading in readings.items():
        book.read_meter(run, reading)
    return []
