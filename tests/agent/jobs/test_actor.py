"""The actor: obeys in order, insists while the launcher is away, and tells exactly what became of a run."""

import asyncio
import base64
import threading
from contextlib import asynccontextmanager

import pytest

from agent.clock import Clock
from agent.errors import RefusedError, StorageError
from agent.jobs import actor as module
from agent.jobs.actor import Actor
from agent.jobs.job import (
    Exited,
    ImageGone,
    Kill,
    LostRun,
    RemoveDisk,
    RemoveRun,
    Started,
    StartFailed,
    StartRun,
    Stop,
    WatchRun,
)
from agent.jobs.names import Names
from agent.jobs.reaches import Reaches
from agent.jobs.request import job_request
from agent.jobs.warm import Hold
from agent.sandbox import DiskState, Reach, Usage
from agent.spec import Egress, MqttGrant, Network, Secret
from tests.fakes.jobs import batch, running
from tests.fakes.sandbox import FakeSandbox

SECOND = 1_000_000_000
CLOCK = Clock("boot-1", wall_nano=lambda: 1000 * SECOND, boottime_nano=lambda: 50 * SECOND)
START = StartRun("b.1.1", batch(), "host")


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


def no_names(name):
    raise OSError("no DNS here")


async def grant(run, spec):
    return {"mqtt_username": f"job:{run}".encode()} if spec.mqtt else {}


async def unseal(tenant, job, secrets):
    return {secret.name: b"opened" for secret in secrets}


def request(run, spec, image="host"):
    return job_request(run, spec, image, Reach(), {})


@asynccontextmanager
async def acting(sandbox, wanted=True, resolve=no_names):
    told = Told()
    one = Actor(
        sandbox, CLOCK, told,
        still_wanted=lambda job_id, run: wanted, reaches=Reaches(sandbox, Names(resolve), 60.0),
        unseal=unseal, grant=grant,
    )  # fmt: skip
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
        sandbox.runs["b.1.1"].usage = Usage(77, 5, 99, 1, 0, 1 << 20, 11, 22)
        sandbox.wall_nano = 995 * SECOND
        sandbox.end("b.1.1", 3)
        event, reading = await told.of(Exited)
        assert (event.exit_code, event.oom, event.ended_unix_nano) == (3, False, 995 * SECOND)
        assert (reading.boottime_nano, reading.cpu_nano, reading.memory_bytes) == (45 * SECOND, 77, None)
        assert (reading.disk_bytes, reading.network_receive_bytes, reading.network_transmit_bytes) == (1 << 20, 11, 22)


async def test_a_start_comes_before_the_removal_of_the_run_before(sandbox) -> None:
    await sandbox.start(request("b.1.1", batch()))
    sandbox.end("b.1.1")
    sandbox.calls.clear()
    async with acting(sandbox) as (one, _):
        one.submit("b", StartRun("b.1.2", batch(), "host", before="b.1.1"))
        one.submit("b", WatchRun("b.1.2"))
        await one.settled()
    assert [call for call in sandbox.calls if call[0] in ("start", "remove")] == [
        ("start", "b.1.2"),
        ("remove", "b.1.1"),
    ]
    assert list(sandbox.runs) == ["b.1.2"]


async def test_a_start_that_lacks_something_else_than_an_image_has_failed(sandbox) -> None:
    sandbox.refuse_start = RefusedError("NOT_FOUND", "no such thing")
    async with acting(sandbox) as (one, told):
        one.submit("b", START)
        event, _ = await told.of(StartFailed)
    assert event.message == "no such thing"


async def test_a_start_whose_answer_was_lost_is_told_though_its_job_is_to_stop_by_then(sandbox) -> None:
    await sandbox.start(request("b.1.1", batch()))
    async with acting(sandbox, wanted=False) as (one, told):
        one.submit("b", START)
        one.submit("b", Stop("b.1.1", "TERM"))
        await told.of(Exited)
    assert {type(event) for event, _ in told} == {Started, Exited} and isinstance(told[0][0], Started)


async def test_a_start_that_has_no_room_gets_that_of_the_run_before(sandbox) -> None:
    await sandbox.start(request("b.1.1", batch()))
    sandbox.end("b.1.1")
    sandbox.refuse_start = RefusedError("NO_ROOM", "remove ended runs")
    sandbox.on_call = lambda op, run: setattr(sandbox, "refuse_start", None) if op == "remove" else None
    async with acting(sandbox) as (one, told):
        one.submit("b", StartRun("b.1.2", batch(), "host", before="b.1.1"))
        await told.of(Started)
        async with asyncio.timeout(5):
            await one.settled()
    assert list(sandbox.runs) == ["b.1.2"]


async def test_what_is_said_of_a_launcher_that_cannot_has_no_word_of_the_tenant(sandbox, caplog) -> None:
    sandbox.refuse_start = RefusedError("NO_ROOM", "32 runs")
    async with acting(sandbox) as (one, _):
        one.submit("b", StartRun("b.1.1", batch(env={"TOKEN": "hush-hush"}), "host"))
        async with asyncio.timeout(5):
            while not caplog.records:
                await asyncio.sleep(0.005)
    assert caplog.records[0].run == "b.1.1" and "hush-hush" not in str(vars(caplog.records[0]))


async def test_while_the_launcher_is_away_it_insists_and_keeps_the_order(sandbox) -> None:
    sandbox.away = True
    async with acting(sandbox) as (one, told):
        for action in (START, Stop("b.1.1", "TERM"), RemoveRun("b.1.1")):
            one.submit("b", action)
        await asyncio.sleep(0.05)
        assert told == []
        sandbox.away = False
        async with asyncio.timeout(5):
            await one.settled()
        assert [op for op, _ in sandbox.calls if op != "started"] == ["start", "signal TERM", "remove"]


@pytest.mark.parametrize(
    "error",
    [StorageError("launcher's disk is full"), RefusedError("NO_ROOM", "32 runs"), RefusedError("CONFLICT", "port 80")],
)
async def test_a_start_that_lacks_room_waits_and_lets_others_pass(sandbox, error) -> None:
    await sandbox.start(request("old.1.1", batch("old")))
    sandbox.refuse_start = error
    async with acting(sandbox) as (one, told):
        for n in range(10):
            one.submit(f"b{n}", StartRun(f"b{n}.1.1", batch(f"b{n}"), "host"))
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
            one.submit(f"b{n}", StartRun(f"b{n}.1.1", batch(f"b{n}"), "host"))
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
        one.submit("b", Stop("b.1.1", "TERM"))
        event, reading = await told.of(LostRun)
        assert sandbox.runs == {} and (event.run, reading) == ("b.1.1", None)


async def test_a_run_without_end_or_monitor_is_asked_about_until_it_is_known(sandbox) -> None:
    async with acting(sandbox) as (one, told):
        await sandbox.start(request("b.1.1", batch()))
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


async def test_a_stop_uses_the_signal_of_its_job(sandbox) -> None:
    async with acting(sandbox) as (one, told):
        one.submit("b", START)
        one.submit("b", WatchRun("b.1.1"))
        one.submit("b", Stop("b.1.1", "INT"))
        event, _ = await told.of(Exited)
        assert event.exit_code == 130


async def test_a_start_without_its_image_is_to_prepare_it_again(sandbox) -> None:
    async with acting(sandbox) as (one, told):
        one.submit("b", StartRun("b.1.1", batch(image="x@sha256:1"), "sha256:1"))
        event, _ = await told.of(ImageGone)
        assert (event.run, sandbox.runs) == ("b.1.1", {})


async def test_secrets_are_opened_for_the_start_and_kept_by_nobody(sandbox) -> None:
    async with acting(sandbox) as (one, told):
        one.submit("b", StartRun("b.1.1", batch(secrets=(Secret("key", ()),)), "host"))
        await told.of(Started)
        assert sandbox.runs["b.1.1"].request.secrets == {"key": "b3BlbmVk"}
        assert "b3BlbmVk" not in repr(vars(one)) and "opened" not in repr(vars(one))


async def test_a_run_with_grants_has_its_login_beside_its_own_secrets_also_when_made_ahead(sandbox) -> None:
    spec = batch(secrets=(Secret("key", ()),), mqtt=(MqttGrant("d", channel="t"),))
    async with acting(sandbox) as (one, _):
        one.submit("b", Hold("b.1.2", spec, "host"))
        one.submit("b", StartRun("b.1.1", spec, "host"))
        await one.settled()
    for run in ("b.1.1", "b.1.2"):
        asked = sandbox.runs[run].request
        assert asked.mqtt and set(asked.secrets) == {"key", "mqtt_username"}
        assert base64.b64decode(asked.secrets["mqtt_username"]) == f"job:{run}".encode()


async def test_secrets_that_cannot_be_opened_fail_the_start_and_say_which(sandbox) -> None:
    async def refuse(tenant, job, secrets):
        raise RefusedError("NOT_FOUND", "secret key is not sealed for this node's key")

    async with acting(sandbox) as (one, told):
        one._unseal = refuse
        one.submit("b", StartRun("b.1.1", batch(secrets=(Secret("key", ()),)), "host"))
        event, _ = await told.of(StartFailed)
        assert "secret key" in event.message


async def test_a_start_gets_the_names_that_are_known_in_time(sandbox, monkeypatch) -> None:
    monkeypatch.setattr(module, "_NAMES_SECONDS", 0.05)
    never = threading.Event()

    def resolve(name):
        if name == "slow.example":
            never.wait(5)
        return ["192.0.2.7"]

    network = Network(egress=(Egress(443, name="fast.example"), Egress(443, name="slow.example")))
    async with acting(sandbox, resolve=resolve) as (one, told):
        one.submit("b", StartRun("b.1.1", batch(network=network), "host"))
        await told.of(Started)
        never.set()
    assert sandbox.runs["b.1.1"].request.network.reach.hosts == {"fast.example": ("192.0.2.7",)}


async def test_a_held_sandbox_is_started_by_the_very_same_request(sandbox) -> None:
    addresses = ["192.0.2.7"]
    network = Network(egress=(Egress(443, name="a.example"),))
    spec = batch(network=network)
    async with acting(sandbox, resolve=lambda name: addresses) as (one, told):
        await one._reaches.learn(spec, 5)
        one.submit("b", Hold("b.1.1", spec, "host"))
        await one.settled()
        assert sandbox.runs["b.1.1"].state.phase == "held"
        addresses[:] = ["192.0.2.8"]  # what a start of its own would ask for now
        await one._reaches._names.refresh(["a.example"])
        held = sandbox.runs["b.1.1"].request
        one.submit("b", StartRun("b.1.1", spec, "host"))
        await told.of(Started)
        assert sandbox.runs["b.1.1"].request is held
        one._reaches.follow("b", running(spec))
        assert one._reaches._given["b.1.1"] != one._reaches.now(spec), "the newer address is still to be given"


async def test_a_sandbox_that_cannot_be_held_is_let_be(sandbox) -> None:
    sandbox.refuse_start = RefusedError("NO_ROOM", "64 runs")
    async with acting(sandbox) as (one, told):
        one.submit("b", Hold("b.1.2", batch(), "host"))
        await one.settled()
        assert sandbox.runs == {} and told == []


async def test_a_disk_is_removed_once_nothing_uses_it(sandbox) -> None:
    sandbox.kept["acme", "b"] = DiskState("acme", "b", 1 << 22)
    refusals = [RefusedError("CONFLICT", "in use"), RefusedError("CONFLICT", "in use")]
    remove = sandbox.remove_disk

    async def remove_disk(tenant, job):
        if refusals:
            raise refusals.pop()
        await remove(tenant, job)

    sandbox.remove_disk = remove_disk
    async with acting(sandbox) as (one, _):
        one.submit("b", RemoveDisk("acme", "b"))
        async with asyncio.timeout(5):
            await one.settled()
        assert sandbox.kept == {}
        one.submit("b", RemoveDisk("acme", "b"))
        async with asyncio.timeout(5):
            await one.settled()


async def test_a_reading_has_every_counter(sandbox) -> None:
    async with acting(sandbox) as (one, _):
        one.submit("b", START)
        await one.settled()
        sandbox.runs["b.1.1"].usage = Usage(
            1, 2, 3, 4, 5, disk_bytes=6, network_receive_bytes=7, network_transmit_bytes=8
        )
        reading = await one.read("b.1.1")
    assert (reading.cpu_nano, reading.memory_bytes, reading.memory_peak_bytes) == (1, 2, 3)
    assert (reading.disk_bytes, reading.network_receive_bytes, reading.network_transmit_bytes) == (6, 7, 8)
