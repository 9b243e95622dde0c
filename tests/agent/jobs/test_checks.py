"""Checks: at their interval, counted, never many at once, and a slow one holds up only its own."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from agent.clock import Clock
from agent.errors import AwayError, RefusedError
from agent.jobs import checks as module
from agent.jobs.checks import Checks
from agent.jobs.job import Healthy, Unhealthy
from agent.model import Health, JobState
from agent.sandbox import Checked
from agent.spec import HealthCheck
from tests.fakes.jobs import running, service
from tests.fakes.shop import until

SECOND = 1_000_000_000
CHECK = HealthCheck(tcp_port=80, interval_seconds=1, failures=2, start_seconds=0)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(module, "_interval", lambda tally: tally.check.interval_seconds / 100)


class Sandbox:
    """Answers in turn, the last answer for ever; `gate` keeps those of some runs waiting."""

    def __init__(self, *answers):
        self.answers, self.asked, self.busy, self.most = list(answers), [], 0, 0
        self.stuck, self.gate = set(), asyncio.Event()

    async def check(self, run):
        self.asked.append(run)
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            if run in self.stuck:
                await self.gate.wait()
        finally:
            self.busy -= 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


GOOD, BAD = Checked(True, ""), Checked(False, "connection refused")


@asynccontextmanager
async def checking(sandbox):
    told = []
    clock = Clock("boot-1", boottime_nano=lambda: int(asyncio.get_running_loop().time() * SECOND))
    one = Checks(sandbox, clock, lambda job_id, event: told.append((job_id, event)))
    task = asyncio.ensure_future(one.run())
    try:
        yield one, told
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_service_is_found_healthy_and_then_ill() -> None:
    sandbox = Sandbox(BAD, GOOD, GOOD, BAD)
    async with checking(sandbox) as (one, told):
        one.follow("s", running(service(health=CHECK)))
        await until(lambda: len(told) == 2)
    assert isinstance(told[0][1], Healthy)
    assert told[1][0] == "s" and isinstance(told[1][1], Unhealthy) and "connection refused" in told[1][1].message
    assert len(sandbox.asked) == 5


async def test_what_runs_no_more_or_has_no_check_is_not_checked() -> None:
    sandbox = Sandbox(GOOD)
    async with checking(sandbox) as (one, _):
        one.follow("s", running(service(health=CHECK)))
        one.follow("t", running(service("t")))
        await until(lambda: len(sandbox.asked) >= 2)
        one.follow("s", running(service(health=CHECK), state=JobState.STOPPING))
        await asyncio.sleep(0.02)
        asked = len(sandbox.asked)
        await asyncio.sleep(0.05)
        assert len(sandbox.asked) == asked and set(sandbox.asked) == {"s.1.1"}
        assert (one._watched, one._runs) == ({}, {})


async def test_a_result_that_comes_too_late_is_not_counted() -> None:
    sandbox = Sandbox(GOOD)
    sandbox.stuck.add("s.1.1")
    async with checking(sandbox) as (one, told):
        one.follow("s", running(service(health=CHECK)))
        await until(lambda: sandbox.busy == 1)
        one.follow("s", None)
        sandbox.gate.set()
        await until(lambda: sandbox.busy == 0)
        await asyncio.sleep(0.01)
        assert told == []


@pytest.mark.parametrize("error", [AwayError("launcher is away"), RefusedError("NOT_FOUND", "gone")])
async def test_a_check_that_nobody_could_make_says_nothing_about_the_job(error) -> None:
    sandbox = Sandbox(error, error, error, error, GOOD)
    async with checking(sandbox) as (one, told):
        one.follow("s", running(service(health=CHECK)))
        await until(lambda: told)
    assert isinstance(told[0][1], Healthy)


async def test_after_a_start_of_the_agent_what_was_healthy_is_not_told_again() -> None:
    sandbox = Sandbox(GOOD, GOOD, BAD)
    async with checking(sandbox) as (one, told):
        one.follow("s", running(service(health=CHECK), health=Health.HEALTHY))
        await until(lambda: told)
    assert isinstance(told[0][1], Unhealthy)


async def test_hanging_checks_of_one_tenant_hold_up_nobody_else() -> None:
    sandbox = Sandbox(GOOD)
    mine = [service(f"m{n}", tenant="mallory", health=CHECK) for n in range(20)]
    sandbox.stuck = {f"m{n}.1.1" for n in range(20)}
    async with checking(sandbox) as (one, told):
        for spec in mine:
            one.follow(spec.id, running(spec))
        await until(lambda: sandbox.busy == 4)
        one.follow("s", running(service(health=CHECK)))
        await until(lambda: told)
        assert told[0][0] == "s"
        await until(lambda: sandbox.asked.count("s.1.1") > 3)
        assert sandbox.most <= 5
        sandbox.gate.set()


async def test_never_more_than_a_few_are_asked_at_once() -> None:
    sandbox = Sandbox(GOOD)
    specs = [service(f"s{n}", tenant=f"t{n}", health=CHECK) for n in range(40)]
    sandbox.stuck = {f"s{n}.1.1" for n in range(40)}
    async with checking(sandbox) as (one, told):
        for spec in specs:
            one.follow(spec.id, running(spec))
        await until(lambda: sandbox.busy == 16)
        sandbox.gate.set()
        await until(lambda: len(told) == 40)
    assert sandbox.most == 16
