"""The jobs service against a launcher that the test plays: what survives, what is told, what is never done twice."""

import asyncio
from dataclasses import replace

import pytest

from agent.config.schema import JobsConfig
from agent.errors import RefusedError, StorageError
from agent.jobs.metering import chain_hash
from agent.jobs.request import job_request
from agent.jobs.store import JobStore
from agent.model import JobState
from agent.sandbox import Reach, Usage
from agent.spec import MqttGrant, Priority, Quota
from tests.fakes.jobs import ON_FAILURE, ROOMY, batch, desired, service
from tests.fakes.shop import SECOND, Shop, state, until, view


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


async def test_a_batch_job_runs_to_its_end_and_every_step_is_told(shop):
    async with shop.agent(desired(batch())) as jobs:
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
        assert view(jobs, "b").pid == 1001
        shop.sandbox.end("b.1.1", 3)
        await until(lambda: state(jobs, "b") is JobState.FAILED)
        assert (view(jobs, "b").exit_code, view(jobs, "b").reason) == (3, "exit-code")
        await until(lambda: shop.states("b")[-1:] == ["failed"])
    assert shop.states("b") == ["pending", "starting", "running", "failed"]
    assert shop.sandbox.starts() == ["b.1.1"]


async def test_grants_are_told_before_the_start_and_taken_back_at_the_end(shop):
    told_at_start = []
    shop.sandbox.on_call = lambda op, run: told_at_start.append(shop.views[-1]) if op == "start" else None
    wanted = desired(batch(mqtt=(MqttGrant("d", channel="t"),)), quota=replace(ROOMY, mqtt_topics=1))
    async with shop.agent(wanted) as jobs:
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
        assert [view.run for view in told_at_start[0]] == ["b.1.1"]
        assert shop.sandbox.runs["b.1.1"].request.mqtt
    async with shop.agent(wanted) as jobs:  # another agent: the same set, at once, and none in between without it
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
        assert [len(views) for views in shop.views] == [0, 1, 1]
        shop.sandbox.end("b.1.1", 0)
        await until(lambda: shop.views[-1] == frozenset())


async def test_applying_again_changes_nothing(shop):
    async with shop.agent(desired(batch(), service())) as jobs:
        await until(lambda: state(jobs, "s") is JobState.RUNNING and state(jobs, "b") is JobState.RUNNING)
        for _ in range(3):
            await jobs.apply(desired(batch(), service()))
        await jobs._loop.settled()
    assert sorted(shop.sandbox.starts()) == ["b.1.1", "s.1.1"]


async def test_a_stop_of_the_agent_leaves_jobs_running_and_a_start_adopts_them(shop):
    async with shop.agent(desired(service())) as jobs:
        await until(lambda: state(jobs, "s") is JobState.RUNNING)
        pid = view(jobs, "s").pid
    assert shop.sandbox.runs["s.1.1"].state.phase == "running"
    async with shop.agent(desired(service())) as jobs:
        assert (state(jobs, "s"), view(jobs, "s").pid) == (JobState.RUNNING, pid)
        shop.sandbox.end("s.1.1", 1)
        await until(lambda: state(jobs, "s") is JobState.BACKING_OFF)
    assert shop.sandbox.starts() == ["s.1.1"]


async def test_a_run_that_ended_while_the_agent_was_away_is_judged_by_its_exit_code(shop):
    async with shop.agent(desired(batch())) as jobs:
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
    shop.sandbox.end("b.1.1", 0)
    async with shop.agent(desired(batch())) as jobs:
        assert state(jobs, "b") is JobState.FINISHED
        await jobs.apply(desired(batch()))
    assert shop.sandbox.starts() == ["b.1.1"]


async def test_a_run_the_launcher_has_lost_is_lost(shop):
    async with shop.agent(desired(batch(), service())) as jobs:
        await until(lambda: {state(jobs, "s"), state(jobs, "b")} == {JobState.RUNNING})
    shop.sandbox.end("b.1.1", phase="lost")
    del shop.sandbox.runs["s.1.1"]
    async with shop.agent(desired(batch(), service())) as jobs:
        assert state(jobs, "b") is JobState.LOST
        assert (state(jobs, "s"), view(jobs, "s").reason) == (JobState.BACKING_OFF, "lost")


async def test_after_a_reboot_services_start_again_and_batch_jobs_do_not(shop):
    async with shop.agent(desired(batch(), service())) as jobs:
        await until(lambda: {state(jobs, "s"), state(jobs, "b")} == {JobState.RUNNING})
    shop.sandbox.runs.clear()
    shop.time.boot_nano = 20 * SECOND
    async with shop.agent(desired(batch(), service()), boot_id="boot-2") as jobs:
        assert (state(jobs, "b"), view(jobs, "b").reason) == (JobState.LOST, "reboot")
        shop.time.passes(2)
        await jobs.apply(desired(batch(), service()))
        await until(lambda: state(jobs, "s") is JobState.RUNNING)
    assert shop.sandbox.starts().count("b.1.1") == 1 and shop.sandbox.starts()[-1] == "s.1.2"


@pytest.mark.parametrize("op", ["start", "watch", "usage"])
async def test_a_crash_in_the_middle_of_a_request_neither_repeats_nor_forgets(shop, op):
    class CrashError(BaseException):
        pass

    def crash(called, run):
        if called == op:
            shop.sandbox.on_call = lambda *_: None
            raise CrashError

    shop.sandbox.on_call = crash

    async def until_it_crashes():
        async with shop.agent(desired(batch()), recovered=False):
            await until(lambda: "b.1.1" in shop.sandbox.runs)
            shop.sandbox.end("b.1.1", 3)
            await asyncio.Event().wait()

    with pytest.raises(BaseExceptionGroup):
        await until_it_crashes()
    if "b.1.1" in shop.sandbox.runs and shop.sandbox.runs["b.1.1"].state.phase == "running":
        shop.sandbox.end("b.1.1", 3)
    async with shop.agent(desired(batch())) as jobs:
        await until(lambda: "b.1.1" in shop.sandbox.runs)
        if shop.sandbox.runs["b.1.1"].state.phase == "running":
            shop.sandbox.end("b.1.1", 3)
        await until(lambda: state(jobs, "b") is JobState.FAILED)
        await until(lambda: shop.states("b")[-1:] == ["failed"] and len(shop.usage()) == 1)
    assert shop.sandbox.starts() == ["b.1.1"]


async def test_what_was_decided_but_not_stored_in_the_spool_is_sent_after_a_crash_unchanged(shop):
    shop.spool_full = True
    async with shop.agent(desired(batch()), recovered=False) as jobs:
        await until(lambda: state(jobs, "b") in (JobState.RUNNING, JobState.REJECTED))
        if state(jobs, "b") is JobState.RUNNING:
            shop.sandbox.end("b.1.1")
            await until(lambda: state(jobs, "b") is JobState.FINISHED)
    assert shop.records == []
    shop.spool_full = False
    async with shop.agent(desired(batch())):
        await until(lambda: shop.states("b"))
    told = shop.states("b")
    assert told[0] == "pending" and told == list(dict.fromkeys(told))


async def test_no_new_work_is_taken_while_the_spool_takes_no_bill(shop):
    async with shop.agent(desired()) as jobs:
        shop.spool_full = True
        await jobs.apply(desired(batch("first")))
        await until(lambda: not jobs._outbox.spool_takes)
        await jobs.apply(desired(batch("first"), batch("second", tenant="bolt")))
        await until(lambda: state(jobs, "second") is JobState.REJECTED)
        assert view(jobs, "second").reason == "spool-full"
        shop.spool_full = False
        await until(lambda: state(jobs, "second") is JobState.RUNNING)


async def test_heat_stops_spot_jobs_and_they_come_back_when_it_is_cool(shop):
    async with shop.agent(desired(service("s"), service("g", priority=Priority.GUARANTEED))) as jobs:
        await until(lambda: {view.state for view in jobs.jobs()} == {JobState.RUNNING})
        jobs.feel("the box is too hot")
        await until(lambda: state(jobs, "s") is JobState.REJECTED)
        assert view(jobs, "s").reason == "too-hot" and state(jobs, "g") is JobState.RUNNING
        await until(lambda: shop.states("s")[-3:] == ["stopping", "pending", "rejected"])
        jobs.feel("")
        await until(lambda: state(jobs, "s") is JobState.RUNNING)
    told = [record for record in shop.records if getattr(record, "reason", "") == "preempted"]
    assert {(record.job, record.message) for record in told} == {("s", "the box is too hot")}


async def test_an_update_of_a_guaranteed_job_goes_on_in_the_heat(shop):
    old = service("g", priority=Priority.GUARANTEED)
    async with shop.agent(desired(old)) as jobs:
        await until(lambda: state(jobs, "g") is JobState.RUNNING)
        jobs.feel("the box is too hot")
        new = replace(old, generation=2)
        await jobs.apply(desired(new, service("h", priority=Priority.GUARANTEED), revision=2))
        await until(lambda: view(jobs, "g").generation == 2 and state(jobs, "g") is JobState.RUNNING)
        await until(lambda: state(jobs, "h") is JobState.REJECTED)


async def test_while_the_launcher_is_away_jobs_keep_their_state_and_then_go_on(shop):
    shop.sandbox.away = True
    async with shop.agent(desired(batch()), recovered=False) as jobs:
        await until(lambda: shop.beats > 1)
        assert jobs.jobs() == () and not jobs.recovered.is_set()
        shop.sandbox.away = False
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
        shop.sandbox.away = True
        await jobs.stop_job("b")
        assert state(jobs, "b") is JobState.STOPPING
        shop.sandbox.away = False
        await until(lambda: state(jobs, "b") is JobState.FAILED)
        assert view(jobs, "b").reason == "stopped"


async def test_a_deaf_job_is_killed_after_its_grace(shop):
    async with shop.agent(desired(batch(stop_grace_seconds=5))) as jobs:
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
        shop.sandbox.deaf.add("b.1.1")
        await jobs.stop_job("b")
        await until(lambda: ("signal TERM", "b.1.1") in shop.sandbox.calls)
        assert state(jobs, "b") is JobState.STOPPING
        shop.time.passes(5)
        await jobs.apply(desired(batch(stop_grace_seconds=5)))
        await until(lambda: state(jobs, "b") is JobState.FAILED)
        assert view(jobs, "b").exit_code == 137


async def test_a_refused_start_fails_and_says_why(shop):
    shop.sandbox.refuse_start = RefusedError("INTERNAL", "no such executable: /bin/nonexist")
    async with shop.agent(desired(batch())) as jobs:
        await until(lambda: state(jobs, "b") is JobState.FAILED)
        await until(lambda: shop.states("b")[-1:] == ["failed"])
    assert shop.records[-1].reason == "start-failed" and "nonexist" in shop.records[-1].message


async def test_a_job_that_is_no_longer_desired_stops_and_its_traces_go(shop):
    async with shop.agent(desired(service())) as jobs:
        await until(lambda: state(jobs, "s") is JobState.RUNNING)
        await jobs.apply(desired())
        await until(lambda: jobs.jobs() == () and not shop.sandbox.runs)
        await until(lambda: shop.states("s")[-1:] == ["finished"])
    assert shop.usage()[-1].job == "s"


async def test_a_higher_generation_stops_the_old_run_before_the_new_one(shop):
    async with shop.agent(desired(service())) as jobs:
        await until(lambda: state(jobs, "s") is JobState.RUNNING)
        await jobs.apply(desired(service(generation=2)))
        await until(lambda: state(jobs, "s") is JobState.RUNNING and view(jobs, "s").generation == 2)
    order = [call for call in shop.sandbox.calls if call[0] in ("signal TERM", "started", "remove")]
    assert order[:3] == [("started", "s.1.1"), ("signal TERM", "s.1.1"), ("started", "s.2.1")]


async def test_a_rejected_job_says_which_limit_and_starts_when_room_comes(shop):
    small = Quota(jobs=1, cpu_milli=1000, memory_bytes=1 << 30)
    wanted = desired(batch("one"), batch("two"), quota=small)
    async with shop.agent(wanted) as jobs:
        await until(lambda: state(jobs, "two") is JobState.REJECTED)
        assert view(jobs, "two").reason == "tenant-jobs"
        await until(lambda: state(jobs, "one") is JobState.RUNNING)
        shop.sandbox.end("one.1.1")
        await until(lambda: state(jobs, "two") is JobState.RUNNING)


async def test_runs_of_nobody_are_ended_and_removed(shop):
    await shop.sandbox.start(job_request("ghost.1.1", batch("ghost"), "host", Reach(), {}))
    async with shop.agent(desired(batch())) as jobs:
        await until(lambda: "ghost.1.1" not in shop.sandbox.runs)
        await until(lambda: state(jobs, "b") is JobState.RUNNING)


async def test_without_its_database_the_agent_finds_its_jobs_by_their_runs(shop):
    async with shop.agent(desired(batch(), service())) as jobs:
        await until(lambda: {state(jobs, "s"), state(jobs, "b")} == {JobState.RUNNING})
        pid = view(jobs, "s").pid
    shop.sandbox.end("b.1.1", 0)
    (shop.directory / "jobs.db").write_bytes(b"not a database at all, for sure" * 200)
    async with shop.agent(desired(batch(), service())) as jobs:
        await until(lambda: state(jobs, "b") is JobState.FINISHED and state(jobs, "s") is JobState.RUNNING)
        assert view(jobs, "s").pid == pid
    assert len(list(shop.directory.glob("jobs.db.corrupt-*"))) == 1
    assert sorted(shop.sandbox.starts()) == ["b.1.1", "s.1.1"]


async def test_the_bill_adds_up_across_restarts_and_its_chain_holds(shop):
    shop.config = JobsConfig(usage_interval_seconds=0.5)
    begun = shop.time.wall
    run = "s.1.1"
    shop.sandbox.first_usage = Usage(0, 1 << 20, 2 << 20, 1, 0)
    for round_ in range(1, 4):
        async with shop.agent(desired(service())) as jobs:
            await until(lambda: state(jobs, "s") is JobState.RUNNING)
            shop.time.passes(10)
            shop.sandbox.runs[run].usage = Usage(round_ * SECOND, 1 << 20, 2 << 20, 1, 0)
            await until(lambda cpu_nano=round_ * SECOND: sum(u.cpu_nano for u in shop.usage()) == cpu_nano)
    async with shop.agent(desired()) as jobs:
        await until(lambda: jobs.jobs() == ())
        await until(lambda: shop.states("s")[-1:] == ["finished"])
    samples = shop.usage()
    assert sum(u.cpu_nano for u in samples) == 3 * SECOND
    assert sum(u.wall_nano for u in samples) == 30 * SECOND
    assert sum(u.memory_byte_seconds for u in samples) == 30 << 20
    assert [u.chain_index for u in samples] == list(range(1, len(samples) + 1))
    assert samples[0].start_unix_nano == begun
    previous = bytes(32)
    for sample in samples:
        assert sample.chain_hash == chain_hash(previous, sample)
        previous = sample.chain_hash


async def test_a_retried_batch_job_gets_a_new_run_and_its_old_log_lives_until_then(shop):
    async with shop.agent(desired(batch(restart=ON_FAILURE))) as jobs:
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
        shop.sandbox.runs["b.1.1"].log.write_bytes(b"2026-01-02T03:04:05.000000006+00:00 stdout F first\n")
        shop.sandbox.end("b.1.1", 1)
        await until(lambda: state(jobs, "b") is JobState.BACKING_OFF)
        lines = [line.text async for batch_ in jobs.logs("b", 1000, False) for line in batch_]
        assert lines == [b"first"]
        shop.time.passes(1)
        await jobs.apply(desired(batch(restart=ON_FAILURE)))
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
    assert list(shop.sandbox.runs) == ["b.1.2"]


async def test_a_follower_sees_the_last_line_and_then_the_end(shop):
    async with shop.agent(desired(batch())) as jobs:
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
        log = shop.sandbox.runs["b.1.1"].log
        seen = []

        async def follow():
            async for lines in jobs.logs("b", 1000, True):
                seen.extend(line.text for line in lines)

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            with log.open("ab") as file:
                file.write(b"2026-01-02T03:04:05.000000006+00:00 stdout F first\n")
            await until(lambda: seen == [b"first"])
            with log.open("ab") as file:
                file.write(b"2026-01-02T03:04:05.000000006+00:00 stderr F last\n")
            shop.sandbox.end("b.1.1")
        assert seen == [b"first", b"last"]


async def test_what_cannot_be_stopped_or_read_is_refused(shop):
    async with shop.agent(desired(batch())) as jobs:
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
        with pytest.raises(RefusedError, match="no job x") as refused:
            await jobs.stop_job("x")
        assert refused.value.reason == "NOT_FOUND"
        with pytest.raises(RefusedError):
            jobs.logs("x", 10, False)
        shop.sandbox.end("b.1.1")
        await until(lambda: state(jobs, "b") is JobState.FINISHED)
        with pytest.raises(RefusedError, match="nothing to stop"):
            await jobs.stop_job("b")


async def test_nothing_is_done_before_it_is_on_disk(shop, monkeypatch):
    commit, full = JobStore.commit, asyncio.Event()
    refused = []

    async def refusing(self, change):
        if full.is_set() and change.jobs:
            refused.append(change)
            raise StorageError("disk full")
        await commit(self, change)

    monkeypatch.setattr(JobStore, "commit", refusing)
    async with shop.agent(desired()) as jobs:
        full.set()
        await jobs.apply(desired(batch()))
        await until(lambda: len(refused) >= 2)
        assert shop.sandbox.starts() == [] and shop.records == []
        full.clear()
        await until(lambda: state(jobs, "b") is JobState.RUNNING)


async def test_a_job_that_was_withdrawn_keeps_no_image(shop):
    async with shop.agent(desired(batch())) as jobs:
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
        assert jobs.images() == {"host"}
        await jobs.apply(desired())
        await until(lambda: jobs.jobs() == ())
        assert jobs.images() == frozenset()
        assert jobs._book.jobs["b"].gone  # remembered, so that it doesn't run twice
