"""The outbox: in order, at least once, and honest about a spool that takes nothing."""

import asyncio

from agent.errors import StorageError
from agent.jobs import outbox
from agent.jobs.outbox import Outbox
from agent.jobs.store import Change, JobStore
from agent.model import Event


def events(*numbers):
    return [Event("job.state", attempt=n) for n in numbers]


async def test_everything_waiting_is_sent_before_it_finishes(tmp_path) -> None:
    store, spool = JobStore(tmp_path / "jobs.db"), []
    await store.open(1)
    await store.commit(Change(outbox=events(*range(600))))

    async def record(bodies):
        spool.extend(bodies)

    box = Outbox(store, record, lambda: None)
    box.finish()
    task = asyncio.ensure_future(box.run())
    await store.commit(Change(outbox=events(600)))
    box.wake()
    await task
    assert spool[:600] == events(*range(600))
    left = (await store.unsent(9))[1]
    assert spool + list(left) == events(*range(601))
    await store.close()


async def test_a_full_spool_is_told_once_and_its_recovery_too(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(outbox, "_RETRY_SECONDS", 0.01)
    store, spool, takes = JobStore(tmp_path / "jobs.db"), [], asyncio.Event()
    await store.open(1)
    await store.commit(Change(outbox=events(1)))
    refusals = iter(range(3))

    async def record(bodies):
        if next(refusals, None) is not None:
            raise StorageError("full")
        spool.extend(bodies)

    box = Outbox(store, record, takes.set)
    task = asyncio.ensure_future(box.run())
    async with asyncio.timeout(5):
        await takes.wait()
    assert spool == events(1) and box.spool_takes
    assert caplog.text.count("no new work") == 1
    box.finish()
    await task
    await store.close()


async def test_a_spool_that_stays_full_does_not_hold_up_the_end(tmp_path) -> None:
    store = JobStore(tmp_path / "jobs.db")
    await store.open(1)
    await store.commit(Change(outbox=events(1)))

    async def record(bodies):
        raise StorageError("full")

    box = Outbox(store, record, lambda: None)
    box.finish()
    async with asyncio.timeout(5):
        await asyncio.ensure_future(box.run())
    assert (await store.unsent(9))[1] == events(1)
    await store.close()
