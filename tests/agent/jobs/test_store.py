"""The job database: all or nothing, and what it does about a file that lies."""

import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import ConfigError, CorruptError, StorageError
from agent.jobs import store as module
from agent.jobs.budget import Spending
from agent.jobs.job import Job
from agent.jobs.metering import ChainHead, Meter, Reading
from agent.jobs.store import Change, JobStore, Snapshot
from agent.model import ChainLink, Event, JobState, UsageSample, UsageSeal
from agent.spec import Prices
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


async def test_a_database_of_schema_1_is_brought_up_to_date_and_loses_nothing(path) -> None:
    """Made by the schema and the words of the agent's first release."""
    spec = {
        "id": "s", "generation": 1, "tenant": "acme", "kind": "service", "image": "host", "command": ["/bin/true"],
        "limits": {"cpu_milli": 100, "memory_bytes": 33554432, "pids": 64, "log_bytes": 1048576, "tmp_bytes": 16777216},
        "restart": {"mode": "always", "max_attempts": 0, "window_seconds": 600, "backoff_seconds": 1,
                    "backoff_max_seconds": 60},
        "env": {"A": "b"}, "deadline_seconds": 0, "stop_grace_seconds": 10,
    }  # fmt: skip
    job = {
        "spec": spec, "state": "running", "reason": "", "message": "", "attempt": 1, "run": "s.1.1", "starts": [1.5],
        "due_at": None, "killed": False, "successor": None, "gone": False, "pid": 7, "exit_code": None,
        "started_unix_nano": 1, "ended_unix_nano": 0,
    }  # fmt: skip
    never_ran = {
        **job,
        "spec": {**spec, "id": "p"},
        "state": "pending",
        "attempt": 0,
        "run": "",
        "starts": [],
        "pid": 0,
    }
    reading = {"boottime_nano": 1, "wall_nano": 2, "cpu_nano": 3, "memory_bytes": None, "memory_peak_bytes": 4}
    meter = {"run": "s.1.1", "tenant": "acme", "job": "s", "generation": 1, "attempt": 1, "last": reading}
    event = {"kind": "job.state", "tenant": "acme", "job": "s", "generation": 1, "attempt": 1, "state": "running",
             "reason": "", "message": "", "exit_code": None, "attributes": {}}  # fmt: skip
    with sqlite3.connect(path) as db:
        db.executescript((Path(module.__file__).parent / "schema_1.sql").read_text())
        db.execute("PRAGMA user_version = 1")
        db.execute("INSERT INTO meta VALUES ('boot_id', 'boot-1')")
        for each in (job, never_ran):
            db.execute("INSERT INTO job VALUES (?, ?)", (each["spec"]["id"], json.dumps(each)))
        db.execute("INSERT INTO meter VALUES ('s.1.1', ?)", (json.dumps(meter),))
        db.execute("INSERT INTO chain VALUES ('acme', 9, ?)", (b"h" * 32,))
        db.execute("INSERT INTO outbox (body_json) VALUES (?)", (json.dumps({"event": event}),))
    db.close()
    for _ in range(2):  # and the second start finds it as the first left it
        store, found = await opened(path)
        assert found.jobs["s"] == running(service(env={"A": "b"}), starts=(1.5,), image="host")
        assert found.jobs["p"] == Job(service("p", env={"A": "b"}), started_unix_nano=1)
        assert found.meters == {METER.run: METER} and found.heads == {"acme": ChainHead(9, b"h" * 32)}
        assert (found.boot_id, found.spending) == ("boot-1", {})
        assert (await store.unsent(9))[1] == [Event(**{**event, "state": JobState.RUNNING})]
        await store.close()


async def test_what_tenants_have_spent_and_seals_outlive_a_restart(path) -> None:
    store, _ = await opened(path)
    spent = {"acme": Spending(7, 5, 24315, 1000, {"s": 1000}, Prices(1, 2, 3, 4)), "bolt": Spending()}
    seal = UsageSeal((ChainLink("acme", 3, b"h" * 32),), b"der", b"signature")
    await store.commit(Change(spending=spent, outbox=[seal]))
    await store.commit(Change(spending={"bolt": Spending(1)}))
    await store.close()
    store, found = await opened(path)
    assert found.spending == {**spent, "bolt": Spending(1)}
    assert (await store.unsent(9))[1] == [seal]
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
