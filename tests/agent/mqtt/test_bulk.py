"""The session is taken up again whatever happens to the connection, and what is in hand is finished."""

import asyncio
import logging

import pytest

from agent.config.schema import MqttConfig
from agent.errors import AwayError
from agent.mqtt import bulk as module
from agent.mqtt.bulk import Bulk
from agent.runtime.notify import KeptSockets
from tests.fakes.mqtt_parts import FakeTime


class FakeHandled:
    def __init__(self):
        self.said = []

    def open(self):
        self.said.append("open")

    def close(self):
        self.said.append("close")


class FakeBridge:
    def __init__(self):
        self.woken = asyncio.Event()
        self.forgotten = 0

    def deliver(self, *_):
        raise AssertionError("nothing comes")

    def forget(self):
        self.forgotten += 1

    def wake(self):
        self.woken.set()

    async def drain(self, stop, beat):
        while not stop.is_set():
            beat()
            await self.woken.wait()


class FakeIntake:
    def __init__(self, *, is_new):
        self.end, self.is_new = asyncio.get_running_loop().create_future(), is_new

    @property
    def is_over(self):
        return self.end.done()

    @property
    def is_connected(self):
        return not self.is_over

    async def subscribed(self):
        pass

    async def ended(self):
        await self.end


class FakeLine:
    """Refuses the second and third connection; the first is a new session."""

    def __init__(self, config, user, password, filters, deliver, session_lost, kept):
        assert (user, password) == ("edge-agent", "secret")
        assert "devices/#" in filters
        self.newest, self.tried, self.made, self.said = None, 0, [], []

    async def adopt(self):
        self.said.append("adopt")

    async def connect(self):
        self.tried += 1
        if self.tried in {2, 3}:
            raise AwayError("broker: nobody")
        self.newest = FakeIntake(is_new=self.tried == 1)
        self.made.append(self.newest)
        return self.newest

    def close(self):
        self.said.append("close")


@pytest.fixture
async def bench(monkeypatch):
    """(bulk, handled, line)."""
    time = FakeTime()
    monkeypatch.setattr(module, "Line", FakeLine)
    handled = FakeHandled()
    bridge, said = FakeBridge(), handled.said
    one = Bulk(
        MqttConfig(),
        "secret",
        bridge,
        handled,
        time.clock(),
        lambda: 0.0,
        kept=KeptSockets(),
        save=lambda: said.append("save"),
    )
    return one, handled, one._line


async def test_a_lost_connection_is_tried_for_again_and_said_once(bench, caplog):
    caplog.set_level(logging.INFO)
    bulk, handled, line = bench
    stop = asyncio.Event()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(bulk.run(stop, lambda: None))
        while not bulk.connected:
            await asyncio.sleep(0)
        line.made[0].end.set_exception(AwayError("broker: gone"))
        while line.tried < 4 or not bulk.connected:
            await asyncio.sleep(0)
        assert handled.said == ["open", "save"]  # what is new to the broker is, once the subscription stands
        stop.set()
    assert handled.said == ["open", "save", "close"]
    assert line.said == ["adopt", "close"]
    assert not bulk.connected
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert told == ["broker connected", "broker is away", "broker connected"]
