"""One loop through which everything that happens to a job passes, in order. Disk first, then act."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agent.clock import Clock
from agent.errors import AwayError, RefusedError, StorageError
from agent.jobs import machine
from agent.jobs.book import Actions, Book
from agent.jobs.job import Action, Job
from agent.jobs.store import JobStore

log = logging.getLogger(__name__)

_BEAT_SECONDS = 5.0
_RETRY_SECONDS = 0.5
_RETRY_MAX_SECONDS = 5.0
_MINUTE_NANO = 60 * 1_000_000_000
_T = TypeVar("_T")

# One thing to do with the book, done by the loop alone; its actions follow once the book is on disk.
Entry = Callable[[Book], Actions]


class Loop:
    def __init__(
        self,
        store: JobStore,
        clock: Clock,
        *,
        settle: Callable[[Book], Actions],
        follow: Callable[[str, Job | None], None],
        perform: Callable[[str, Action], None],
        reported: Callable[[], None],
    ) -> None:
        """`settle` is called at each turn, at the latest when a minute of the wall clock begins.

        Once a turn is on disk, `follow` hears of each job that has changed (None: forgotten), then `perform` gets
        each action, and `reported` is called when there is something in the outbox.
        """
        self._store = store
        self._clock = clock
        self._settle = settle
        self._follow = follow
        self._perform = perform
        self._reported = reported
        self._entries = asyncio.Queue[Entry]()

    def post(self, entry: Entry) -> None:
        self._entries.put_nowait(entry)

    async def settled(self) -> None:
        """Returns once everything posted so far is on disk, and its actions are ordered."""
        await self._entries.join()

    async def run(self, book: Book, beat: Callable[[], None]) -> None:
        """Until cancelled, at any point: what is on disk is enough to go on from."""
        for job_id, job in book.jobs.items():
            self._follow(job_id, job)
        while True:
            beat()
            entries = await self._next(book)
            actions = [action for entry in entries for action in entry(book)]
            actions += self._time_is_up(book)
            actions += self._settle(book)
            await self._commit(book, beat)
            for job_id, action in actions:
                self._perform(job_id, action)
            for _ in entries:
                self._entries.task_done()

    async def _next(self, book: Book) -> list[Entry]:
        """All that wait, at most until the next timer, the next minute or the next beat."""
        timers = [timer[0] for job in book.jobs.values() if (timer := machine.due(job)) is not None]
        minute = (_MINUTE_NANO - self._clock.wall_nano() % _MINUTE_NANO) / 1e9
        wait = min([_BEAT_SECONDS, minute, *(max(0.0, due - self._clock.seconds()) for due in timers)])
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

    async def _commit(self, book: Book, beat: Callable[[], None]) -> None:
        change = book.take()
        if change.is_empty():
            return
        await patiently(lambda: self._store.commit(change), beat)
        for job_id, job in change.jobs.items():
            self._follow(job_id, job)
        if change.outbox:
            self._reported()


async def patiently(work: Callable[[], Awaitable[_T]], beat: Callable[[], None] = lambda: None) -> _T:
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
