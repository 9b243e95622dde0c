"""The actor: obeys in order, insists while the launcher is away, and tells exactly what became of a run."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from agent.clock import Clock
from agent.errors import RefusedError, StorageError
from agent.jobs import actor as module
from agent.jobs.actor import Actor
from agent.jobs.job import Exited, Kill, LostRun, RemoveRun, Started, StartFailed, StartRun, Term, WatchRun
from agent.sandbox import Usage
from tests.fakes.jobs import batch
from tests.fakes.sandbox import FakeSandbox

SECOND = 1_000_000_000
CLOCK = Clock("boot-1", wall_nano=lambda: 1000 * SECOND, boottime_nano=lambda: 50 * SECOND)
START = StartRun("b.1.1", batch())


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
    return FakeSandbox(tmp_path, wall_nano=990 * SECOND)


class Told(list):
    def __call__(self, job_id, event, reading):
        self.append((event, reading))

    async def of(self, kind):
        async with asyncio.timeout(5):
            while not any(isinstance(event, kind) for event, _ in self):
                await asyncio.sleep(0.005)
        return next(entry for entry in self if isinstance(entry[0], kind))


@asynccontextmanager
async def acting(sandbox, wanted=True):
    told = Told()
    one = Actor(sandbox, CLOCK, told, lambda job_id, run: wanted)
    task = asyncio.ensure_future(one.run())
    try:
        yield one, told
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_start_tells_when_the_run_began_by_the_clock_that_never_jumps(sandbox) -> None:
    async with acting(sandbox) as (one, told):
        one.submit("b", START)
        event, _ = await told.of(Started)
        assert event == Started("b.1.1", 1001, 990 * SECOND, 40.0)


async def test_an_end_is_told_with_its_last_reading_dated_at_the_end(sandbox) -> None:
    async with acting(sandbox) as (one, told):
        one.submit("b", START)
        one.submit("b", WatchRun("b.1.1"))
        await one.settled()
        sandbox.runs["b.1.1"].usage = Usage(77, 5, 99, 1, 0)
        sandbox.wall_nano = 995 * SECOND
        sandbox.end("b.1.1", 3)
        event, reading = await told.of(Exited)
        assert (event.exit_code, event.oom, event.ended_unix_nano) == (3, False, 995 * SECOND)
        assert (reading.boottime_nano, reading.cpu_nano, reading.memory_bytes) == (45 * SECOND, 77, None)


async def test_while_the_launcher_is_away_it_insists_and_keeps_the_order(sandbox) -> None:
    sandbox.away = True
    async with acting(sandbox) as (one, told):
        for action in (START, Term("b.1.1"), RemoveRun("b.1.1")):
            one.submit("b", action)
        await asyncio.sleep(0.05)
        assert told == []
        sandbox.away = False
        async with asyncio.timeout(5):
            await one.settled()
        assert [op for op, _ in sandbox.calls if op != "started"] == ["start", "signal TERM", "remove"]


@pytest.mark.parametrize("error", [StorageError("launcher's disk is full"), RefusedError("NO_ROOM", "32 runs")])
async def test_a_start_that_lacks_room_waits_and_lets_others_pass(sandbox, error) -> None:
    await sandbox.start(module._request("old.1.1", batch("old")))
    sandbox.refuse_start = error
    async with acting(sandbox) as (one, told):
        for n in range(10):
            one.submit(f"b{n}", StartRun(f"b{n}.1.1", batch(f"b{n}")))
        one.submit("old", Kill("old.1.1"))
        one.submit("old", RemoveRun("old.1.1"))
        async with asyncio.timeout(5):
            while "old.1.1" in sandbox.runs:
                await asyncio.sleep(0.005)
        assert not any(isinstance(event, StartFailed) for event, _ in told)
        sandbox.refuse_start = None
        async with asyncio.timeout(5):
            await one.settled()
        assert len(sandbox.runs) == 10


async def test_the_launcher_is_asked_a_few_things_at_once_but_never_many(sandbox) -> None:
    busy, most, go = set(), [], asyncio.Event()

    async def start(request):
        busy.add(request.run)
        most.append(len(busy))
        await go.wait()
        busy.discard(request.run)
        raise RefusedError("BAD_REQUEST", "no")

    sandbox.start = start
    async with acting(sandbox) as (one, _):
        for n in range(10):
            one.submit(f"b{n}", StartRun(f"b{n}.1.1", batch(f"b{n}")))
        async with asyncio.timeout(5):
            while len(busy) < 4:
                await asyncio.sleep(0.005)
        go.set()
        await one.settled()
    assert len(most) == 10 and max(most) == 4


async def test_a_refused_start_is_told_with_its_reason(sandbox) -> None:
    sandbox.refuse_start = RefusedError("PERMISSION_DENIED", "memory_bytes: at most 1")
    async with acting(sandbox) as (one, told):
        one.submit("b", START)
        event, _ = await told.of(StartFailed)
        assert event.message == "memory_bytes: at most 1"


async def test_a_start_nobody_wants_any_more_is_not_made(sandbox) -> None:
    async with acting(sandbox, wanted=False) as (one, told):
        one.submit("b", START)
        one.submit("b", Term("b.1.1"))
        event, reading = await told.of(LostRun)
        assert sandbox.runs == {} and (event.run, reading) == ("b.1.1", None)


async def test_a_run_without_end_or_monitor_is_asked_about_until_it_is_known(sandbox) -> None:
    async with acting(sandbox) as (one, told):
        await sandbox.start(module._request("b.1.1", batch()))
        looks = []

        async def watch(run):
            looks.append(run)
            if len(looks) == 3:
                sandbox.end(run, 0)
            return sandbox.runs[run].state, None

        sandbox.watch = watch
        one.submit("b", WatchRun("b.1.1"))
        await told.of(Exited)
        assert len(looks) == 3


async def test_what_is_gone_already_needs_no_removal_and_no_second_watch(sandbox) -> None:
    async with acting(sandbox) as (one, _):
        one.submit("b", RemoveRun("b.1.0"))
        one.submit("b", START)
        one.submit("b", WatchRun("b.1.1"))
        one.submit("b", WatchRun("b.1.1"))
        await one.settled()
        assert [op for op, _ in sandbox.calls].count("watch") == 1
        assert await one.read("b.1.0") is None


async def test_a_private_tmp_never_asks_for_more_than_the_memory_it_lives_in(sandbox) -> None:
    async with acting(sandbox) as (one, told):
        one.submit("b", StartRun("b.1.1", batch(limits=batch().limits.__class__(100, 8 << 20))))
        await told.of(Started)
        assert sandbox.runs["b.1.1"].request.tmp_bytes == 8 << 20


async def test_a_run_of_nobody_is_killed_and_then_removed(sandbox) -> None:
    async with acting(sandbox) as (one, _):
        state = await sandbox.start(module._request("ghost.1.1", batch()))
        await one.discard(state)
        assert sandbox.runs == {}
