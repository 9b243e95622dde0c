"""The job database: all or nothing, and what it does about a file that lies."""

import os
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import ConfigError, CorruptError, StorageError
from agent.jobs.job import Job
from agent.jobs.metering import ChainHead, Meter, Reading
from agent.jobs.store import Change, JobStore, Snapshot
from agent.model import Event, JobState, UsageSample
from tests.fakes.jobs import batch, running, service

METER = Meter("s.1.1", "acme", "s", 1, 1, Reading(1, 2, 3, None, 4))
EMPTY = Snapshot({}, {}, {}, "")


@pytest.fixture
async def path(tmp_path):
    return tmp_path / "jobs.db"


async def opened(path):
    store = JobStore(path)
    return store, await store.open(7)


async def test_what_was_committed_is_there_after_a_restart(path) -> None:
    store, found = await opened(path)
    assert found == EMPTY
    job = running(service(env={"A": "ä\n"}), successor=service(generation=2), due_at=1.5)
    change = Change({"s": job, "b": Job(batch())}, {METER.run: METER}, {"acme": ChainHead(1, b"h" * 32)}, [], "boot-1")
    await store.commit(change)
    await store.commit(Change(jobs={"b": None}))
    await store.close()
    store, found = await opened(path)
    assert found == Snapshot({"s": job}, {METER.run: METER}, {"acme": ChainHead(1, b"h" * 32)}, "boot-1")
    await store.close()


async def test_the_outbox_keeps_order_and_loses_only_what_was_sent(path) -> None:
    store, _ = await opened(path)
    bodies = [
        Event("job.state", "acme", "b", 1, 1, JobState.FAILED, "exit-code", "x", 3),
        UsageSample("acme", "b", 1, 1, 1, 2, 3, 4, 5, chain_index=1, chain_hash=bytes(range(32))),
        Event("job.state", state=None),
    ]
    await store.commit(Change(outbox=bodies))
    last, found = await store.unsent(2)
    assert list(found) == bodies[:2]
    await store.sent(last)
    await store.close()
    store, _ = await opened(path)
    assert (await store.unsent(9))[1] == bodies[2:]
    await store.close()


@pytest.mark.parametrize("damage", ["garbage", "torn page", "json"])
async def test_a_corrupt_database_is_set_aside_and_an_empty_one_begun(path, damage, caplog) -> None:
    store, _ = await opened(path)
    await store.commit(Change(jobs={f"b{n}": running(batch(f"b{n}", command=("x" * 500,))) for n in range(50)}))
    await store.close()
    if damage == "garbage":
        path.write_bytes(b"no database " * 1000)
    elif damage == "torn page":
        with path.open("r+b") as file:
            file.seek(8192)
            file.write(os.urandom(8192))
    else:
        with sqlite3.connect(path) as db:
            db.execute("UPDATE job SET job_json = '{\"spec\"' WHERE id = 'b7'")
        db.close()
    store, found = await opened(path)
    assert found == EMPTY
    assert path.with_name("jobs.db.corrupt-7").exists()
    assert "set aside" in caplog.text
    await store.commit(Change(jobs={"b": Job(batch())}))
    await store.close()


async def test_a_database_of_a_newer_agent_stops_the_start(path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    store = JobStore(path)
    with pytest.raises(ConfigError, match="newer agent"):
        await store.open(7)
    assert path.exists()
    await store.close()


async def test_a_full_disk_keeps_what_is_there_and_takes_again_later(path) -> None:
    store, _ = await opened(path)
    job = running(service())
    await store.commit(Change(jobs={"s": job}))
    await store._do(lambda: store._db.execute("PRAGMA max_page_count = 12"))
    big = replace(job, spec=service(env={"X": "y" * 100_000}))
    with pytest.raises(StorageError):
        await store.commit(Change(jobs={"s": big, "t": job}))
    await store._do(lambda: store._db.execute("PRAGMA max_page_count = 1000000"))
    await store.commit(Change(boot_id="b"))
    await store.close()
    store, found = await opened(path)
    assert found.jobs == {"s": job} and found.boot_id == "b"
    await store.close()


async def test_a_change_that_cannot_be_written_leaves_no_half_of_itself(path) -> None:
    store, _ = await opened(path)
    with pytest.raises(TypeError):
        await store.commit(Change(jobs={"a": Job(batch("a")), "b": Job(batch(command=(object(),)))}))
    await store.commit(Change(boot_id="next"))
    await store.close()
    store, found = await opened(path)
    assert found == Snapshot({}, {}, {}, "next")
    await store.close()


async def test_a_lie_found_later_ends_the_process_and_is_set_aside_then(path) -> None:
    store, _ = await opened(path)

    def lie():
        raise sqlite3.DatabaseError("database disk image is malformed")

    with pytest.raises(CorruptError, match="next start"):
        await store._do(lie)
    await store.close()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from("abc"), st.integers(1, 5)), st.dictionaries(st.sampled_from("abc"), st.none()))
async def test_later_changes_win(tmp_path_factory, first, second) -> None:
    path = tmp_path_factory.mktemp("store") / "jobs.db"
    store, _ = await opened(path)
    await store.commit(Change(jobs={id_: Job(batch(id_, generation=g)) for id_, g in first.items()}))
    await store.commit(Change(jobs=dict(second)))
    await store.close()
    store, found = await opened(path)
    assert {id_: job.spec.generation for id_, job in found.jobs.items()} == {
        id_: g for id_, g in first.items() if id_ not in second
    }
    await store.close()
