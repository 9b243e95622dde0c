"""Adverts: what would answer, said by a child that lives only as long as there is something to say."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import pytest

from agent.jobs import advertise as module
from agent.jobs.advertise import Advertiser, advertised
from agent.model import Health, JobState
from agent.spec import HealthCheck, Network, Publish
from tests.fakes.jobs import running, service
from tests.fakes.shop import until

PORTS = Network(publish=(Publish(20001, 80, "tcp", "drone", {"v": "1"}), Publish(20002, 81)))
SPEC = service("dock", network=PORTS)

# Writes down what it is told; "die" in a service's name ends it.
CHILD = """
import sys
with open(sys.argv[1], "a") as out:
    print("born", file=out, flush=True)
    for line in sys.stdin:
        out.write(line)
        out.flush()
        print(line, flush=True)
        if "die" in line:
            sys.exit(1)
    print("goodbye", file=out, flush=True)
"""


class Air:
    def __init__(self, path):
        self.path = path
        path.touch()

    @property
    def lines(self):
        return self.path.read_text().splitlines()

    def names(self):
        """Of the services that were told last; nobody's while the newest child was told nothing yet."""
        last = self.lines[-1]
        return [] if last == "born" else [each["name"] for each in json.loads(last)["services"]]

    @asynccontextmanager
    async def advertising(self):
        one = Advertiser("store-7", ("lan0",), (sys.executable, "-I", "-c", CHILD, str(self.path)))
        task = asyncio.ensure_future(one.run())
        try:
            yield one
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
def air(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
    return Air(tmp_path / "air")


def test_only_ports_with_a_service_name_are_advertised() -> None:
    assert advertised(running(SPEC), "store-7") == (
        {"service": "drone", "protocol": "tcp", "name": "dock on store-7", "port": 20001, "txt": {"v": "1"}},
    )
    assert advertised(running(service()), "store-7") == ()


def test_a_job_is_advertised_while_it_would_answer() -> None:
    for state in set(JobState) - {JobState.RUNNING}:
        assert advertised(running(SPEC, state=state), "store-7") == ()
    checked = service("dock", network=PORTS, health=HealthCheck(tcp_port=80))
    for health in Health:
        shown = advertised(running(checked, health=health), "store-7")
        assert bool(shown) is (health is Health.HEALTHY)


async def test_there_is_no_child_before_there_is_something_to_say(air) -> None:
    async with air.advertising() as one:
        one.follow("s", running(service()))
        one.follow("dock", running(SPEC, state=JobState.STARTING))
        await asyncio.sleep(0.1)
        assert air.lines == []


async def test_the_child_is_told_everything_at_each_change_and_ends_with_the_last(air) -> None:
    async with air.advertising() as one:
        one.follow("dock", running(SPEC))
        await until(lambda: len(air.lines) == 2)
        assert air.names() == ["dock on store-7"]
        told = json.loads(air.lines[-1])
        assert (told["host"], told["interfaces"]) == ("store-7", ["lan0"])
        one.follow("dock", running(SPEC, pid=8))
        one.follow("gate", running(service("gate", network=PORTS)))
        await until(lambda: len(air.lines) == 3)
        assert air.names() == ["dock on store-7", "gate on store-7"]
        one.follow("dock", running(SPEC, state=JobState.STOPPING))
        await until(lambda: len(air.lines) == 4)
        assert air.names() == ["gate on store-7"]
        one.follow("gate", None)
        await until(lambda: air.lines[-1] == "goodbye")
        one.follow("dock", running(SPEC))
        await until(lambda: air.lines[-2:] != [] and air.lines[-1].startswith("{"))
        assert air.lines.count("born") == 2


async def test_a_child_that_dies_is_started_again(air) -> None:
    async with air.advertising() as one:
        one.follow("dies", running(service("dies", network=PORTS)))
        await until(lambda: air.lines.count("born") >= 3)
        one.follow("dies", None)
        one.follow("dock", running(SPEC))
        await until(lambda: air.names() == ["dock on store-7"])


async def test_a_child_that_cannot_be_started_is_tried_again(air) -> None:
    one = Advertiser("store-7", (), ("/no/such/program",))
    task = asyncio.ensure_future(one.run())
    one.follow("dock", running(SPEC))
    await asyncio.sleep(0.05)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def test_the_child_goes_with_the_agent(air) -> None:
    async with air.advertising() as one:
        one.follow("dock", running(SPEC))
        await until(lambda: len(air.lines) == 2)
    assert air.lines[-1] != "goodbye", "killed, not asked: an agent that is killed closes its pipe all the same"
