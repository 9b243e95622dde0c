"""The loop: everything in order, nothing before it is on disk, and awake when a minute begins."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from agent.clock import Clock
from agent.errors import AwayError, RefusedError, StorageError
from agent.jobs import loop as module
from agent.jobs.book import Book
from agent.jobs.job import Admitted, RemoveRun, StartRun, StopAsked
from agent.jobs.loop import Loop, patiently
from agent.jobs.store import JobStore, Snapshot
from agent.model import JobState
from tests.fakes.jobs import batch, desired, running
from tests.fakes.shop import SECOND, until


class Time:
    def __init__(self):
        self.wall, self.boot = 1_700_000_030 * SECOND, 100 * SECOND  # ten seconds before a minute begins

    def clock(self):
        return Clock("boot-1", wall_nano=lambda: self.wall, boottime_nano=lambda: self.boot)


class Deck:
    def __init__(self, path):
        self.store, self.time, self.done, self.settled = JobStore(path), Time(), [], 0
        self.loop = Loop(
            self.store, self.time.clock(),
            settle=self._settle,
            follow=lambda job_id, job: self.done.append(("follow", job_id, job and job.state)),
            perform=lambda job_id, action: self.done.append((type(action).__name__, job_id)),
            reported=lambda: self.done.append(("reported",)),
        )  # fmt: skip

    def _settle(self, book):
        self.settled += 1
        return []

    @asynccontextmanager
    async def turning(self, book=None):
        await self.store.open(1)
        book = book or Book(Snapshot({}, {}, {}, "boot-1"))
        task = asyncio.ensure_future(self.loop.run(book, lambda: None))
        try:
            yield book
        finally:
            task.cancel()
            await asyncio.wait([task])
            await self.store.close()


@pytest.fixture
def deck(tmp_path):
    return Deck(tmp_path / "jobs.db")


async def test_followers_hear_of_a_change_and_then_actions_are_performed(deck) -> None:
    async with deck.turning():
        deck.loop.post(lambda book: book.reconcile(desired(batch()), 1.0))
        deck.loop.post(lambda book: book.advance("b", Admitted(1.0)))
        async with asyncio.timeout(5):
            await deck.loop.settled()
    assert deck.done == [("follow", "b", JobState.STARTING), ("reported",), ("StartRun", "b")]


async def test_nothing_is_done_while_the_disk_refuses(deck, monkeypatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.005)
    commit, refused = deck.store.commit, []

    async def refusing(change):
        if len(refused) < 3:
            refused.append(change)
            assert deck.done == []
            raise StorageError("disk full")
        await commit(change)

    deck.store.commit = refusing
    async with deck.turning():
        deck.loop.post(lambda book: book.reconcile(desired(batch()), 1.0))
        async with asyncio.timeout(5):
            await deck.loop.settled()
    assert len(refused) == 3 and deck.done[0] == ("follow", "b", JobState.PENDING)


async def test_what_is_known_at_the_start_is_followed(deck) -> None:
    async with deck.turning(Book(Snapshot({"b": running(batch())}, {}, {}, "boot-1"))):
        await until(lambda: deck.done == [("follow", "b", JobState.RUNNING)])


async def test_a_timer_that_is_up_needs_nobody_to_say_so(deck) -> None:
    job = running(batch(deadline_seconds=5), due_at=100.0)
    async with deck.turning(Book(Snapshot({"b": job}, {}, {}, "boot-1"))):
        await until(lambda: ("Stop", "b") in deck.done)


async def test_it_turns_when_a_minute_of_the_wall_clock_begins(deck, monkeypatch) -> None:
    monkeypatch.setattr(module, "_BEAT_SECONDS", 3600.0)
    deck.time.wall += int(9.97 * SECOND)
    async with deck.turning():
        await until(lambda: deck.settled >= 1, seconds=1.0)


async def test_actions_of_one_job_keep_their_order(deck) -> None:
    async with deck.turning(Book(Snapshot({"b": running(batch())}, {}, {}, "boot-1"))):
        deck.loop.post(lambda book: [("b", RemoveRun("b.1.0")), ("b", StartRun("b.1.1", batch(), "host"))])
        deck.loop.post(lambda book: book.advance("b", StopAsked(100.0)))
        async with asyncio.timeout(5):
            await deck.loop.settled()
    assert [each[0] for each in deck.done if each[0] not in ("follow", "reported")] == ["RemoveRun", "StartRun", "Stop"]


async def test_patience_outlives_what_passes_and_beats_meanwhile(monkeypatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.001)
    faults = [AwayError("a"), StorageError("b"), RefusedError("PERMISSION_DENIED", "c")]
    beats = []

    async def work():
        if faults:
            raise faults.pop()
        return 7

    assert await patiently(work, lambda: beats.append(1)) == 7
    assert len(beats) == 4
