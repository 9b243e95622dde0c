"""What the broker starts from while no agent can be asked: the book as it was written last."""

import sqlite3

from agent.jobs.live import live
from agent.jobs.store import Change, JobStore
from agent.model import JobState
from agent.spec import MqttGrant, MqttView
from tests.fakes.jobs import batch, running

READS = (MqttGrant("d", channel="t"),)


async def written(path, **jobs) -> JobStore:
    store = JobStore(path)
    await store.open(1)
    await store.commit(Change(jobs=jobs, boot_id="boot-1"))
    return store


async def test_live_runs_with_grants_are_read_while_the_agent_has_the_book_open(tmp_path) -> None:
    path = tmp_path / "jobs.db"
    store = await written(
        path,
        granted=running(batch("granted", mqtt=READS)),
        bare=running(batch("bare")),
        over=running(batch("over", mqtt=READS), state=JobState.FINISHED),
    )
    assert live(path, "boot-1") == {MqttView("granted.1.1", "acme", "granted", READS)}
    await store.commit(Change(jobs={"granted": None}))
    assert live(path, "boot-1") == frozenset()
    await store.close()


async def test_runs_of_another_boot_are_gone(tmp_path) -> None:
    store = await written(tmp_path / "jobs.db", granted=running(batch(mqtt=READS)))
    await store.close()
    assert len(live(tmp_path / "jobs.db", "boot-1")) == 1
    assert live(tmp_path / "jobs.db", "boot-2") == frozenset()


def test_a_book_that_is_not_there_or_is_none_says_nothing_and_is_not_made(tmp_path) -> None:
    assert live(tmp_path / "jobs.db", "boot-1") == frozenset()
    assert not (tmp_path / "jobs.db").exists()
    (tmp_path / "jobs.db").write_bytes(b"no database" * 100)
    assert live(tmp_path / "jobs.db", "boot-1") == frozenset()
    (tmp_path / "jobs.db").unlink()
    sqlite3.connect(tmp_path / "jobs.db").close()
    assert live(tmp_path / "jobs.db", "boot-1") == frozenset()
