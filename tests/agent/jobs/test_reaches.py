"""What runs may reach: given when it changes, closed when the month is used up, tried until the launcher hears it."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from agent.jobs import reaches as module
from agent.jobs.names import Names
from agent.jobs.reaches import Reaches
from agent.jobs.request import job_request
from agent.model import JobState
from agent.sandbox import Destination, Reach
from agent.spec import Egress, Network
from tests.fakes.jobs import running, service
from tests.fakes.sandbox import FakeSandbox
from tests.fakes.shop import until

SPEC = service(network=Network(egress=(Egress(443, name="a.example"), Egress(80, cidr="192.0.2.0/24"))))
RUN = "s.1.1"


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
    return FakeSandbox(tmp_path)


@asynccontextmanager
async def keeping(sandbox, table, refresh_seconds=3600.0, cut=()):
    one = Reaches(sandbox, Names(lambda name: table[name]), refresh_seconds)
    if cut is not None:
        one.cut(cut)
    task = asyncio.ensure_future(one.run())
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.wait([task])


async def started(one, sandbox, spec=SPEC):
    reach = one.now(spec)
    await sandbox.start(job_request(RUN, spec, "host", reach, {}))
    one.given(RUN, reach)
    one.follow("s", running(spec))


def reached(sandbox):
    return [call for call in sandbox.calls if call[0] == "reach"]


async def test_what_the_start_gave_is_not_given_again(sandbox) -> None:
    async with keeping(sandbox, {"a.example": ["198.51.100.1"]}) as one:
        await one.learn(SPEC, 5)
        await started(one, sandbox)
        await asyncio.sleep(0.02)
        assert reached(sandbox) == []


async def test_a_name_that_moves_is_followed(sandbox) -> None:
    table = {"a.example": ["198.51.100.1"]}
    async with keeping(sandbox, table, refresh_seconds=0.01) as one:
        await one.learn(SPEC, 5)
        await started(one, sandbox)
        table["a.example"] = ["198.51.100.2"]
        await until(lambda: sandbox.runs[RUN].reach.hosts == {"a.example": ("198.51.100.2",)})
        assert Destination("198.51.100.2/32", 443, "tcp") in sandbox.runs[RUN].reach.destinations


async def test_a_used_up_month_cuts_and_the_next_opens_again(sandbox) -> None:
    async with keeping(sandbox, {"a.example": []}) as one:
        await started(one, sandbox)
        one.cut(["s"])
        await until(lambda: sandbox.runs[RUN].reach.cut)
        assert one.now(SPEC).cut
        one.cut([])
        await until(lambda: not sandbox.runs[RUN].reach.cut)
        assert len(reached(sandbox)) == 2


async def test_it_is_tried_until_the_launcher_hears_it(sandbox) -> None:
    async with keeping(sandbox, {"a.example": []}) as one:
        await started(one, sandbox)
        sandbox.away = True
        one.cut(["s"])
        await asyncio.sleep(0.05)
        sandbox.away = False
        await until(lambda: sandbox.runs[RUN].reach.cut)


async def test_a_start_of_the_agent_while_dns_is_away_takes_nothing_from_a_run(sandbox) -> None:
    async with keeping(sandbox, {"a.example": ["198.51.100.1"]}) as one:
        await one.learn(SPEC, 5)
        await started(one, sandbox)
    table = {"a.example": []}
    async with keeping(sandbox, table, refresh_seconds=0.01) as one:
        one.follow("s", running(SPEC))
        await asyncio.sleep(0.05)
        assert sandbox.runs[RUN].reach.hosts == {"a.example": ("198.51.100.1",)}
        table["a.example"] = ["198.51.100.2"]
        await until(lambda: sandbox.runs[RUN].reach.hosts == {"a.example": ("198.51.100.2",)})


async def test_a_start_of_the_agent_resolves_before_it_tells(sandbox) -> None:
    async with keeping(sandbox, {"a.example": ["198.51.100.1"]}) as one:
        await one.learn(SPEC, 5)
        await started(one, sandbox)
    async with keeping(sandbox, {"a.example": ["198.51.100.1"]}) as one:
        one.follow("s", running(SPEC))
        await until(lambda: reached(sandbox))
    assert sandbox.runs[RUN].reach.hosts == {"a.example": ("198.51.100.1",)}


async def test_a_start_of_the_agent_opens_no_network_that_is_cut(sandbox) -> None:
    async with keeping(sandbox, {"a.example": ["198.51.100.1"]}, cut=["s"]) as one:
        await started(one, sandbox)
    async with keeping(sandbox, {"a.example": ["198.51.100.1"]}, cut=None) as one:
        one.follow("s", running(SPEC))
        await asyncio.sleep(0.02)
        assert reached(sandbox) == []
        one.cut(["s"])
        await until(lambda: reached(sandbox))
    assert sandbox.runs[RUN].reach.cut


async def test_after_a_start_of_the_agent_every_run_is_told_once(sandbox) -> None:
    async with keeping(sandbox, {"a.example": ["198.51.100.1"]}) as one:
        await started(one, sandbox)
    async with keeping(sandbox, {"a.example": ["198.51.100.1"]}) as one:
        one.follow("s", running(SPEC))
        await until(lambda: len(reached(sandbox)) == 1)
        one.follow("s", running(SPEC, pid=8))
        await asyncio.sleep(0.02)
        assert len(reached(sandbox)) == 1


async def test_runs_that_are_over_leave_nothing_behind(sandbox) -> None:
    async with keeping(sandbox, {"a.example": []}) as one:
        one.follow("s", running(SPEC, state=JobState.STARTING))
        await started(one, sandbox)
        one.follow("s", running(SPEC, state=JobState.STOPPING))
        one.given("t.1.1", Reach())
        one.follow("t", running(service("t"), state=JobState.STOPPING))
        one.follow("u", None)
        assert (one._specs, one._runs, one._given) == ({}, {}, {})
        one.cut(["s"])
        await asyncio.sleep(0.02)
        assert reached(sandbox) == []


def test_a_job_without_a_network_reaches_nothing(sandbox) -> None:
    assert Reaches(sandbox, Names(), 60.0).now(service()) == Reach()
