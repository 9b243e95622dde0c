"""The session is taken up again whatever happens to the connection, and what is in hand is finished."""

import asyncio
import logging
from contextlib import asynccontextmanager

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
    def __init__(self):
        self.end = asyncio.get_running_loop().create_future()

    async def lost(self):
        await self.end


@pytest.fixture
async def bench(monkeypatch):
    """(bulk, time, connections): each entry is what the next connection does: an error, or an intake."""
    time, made = FakeTime(), []

    @asynccontextmanager
    async def connect(config, user, password, filters, deliver, session_lost, kept):
        assert (user, password) == ("edge-agent", "secret")
        assert "devices/#" in filters
        made.append(FakeIntake())
        if len(made) in {2, 3}:
            raise AwayError("broker: nobody")
        if len(made) == 1:
            session_lost()
        yield made[-1]

    monkeypatch.setattr(module, "connect", connect)
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
        save=lambda: said.append(f"save {bridge.forgotten}"),
    )
    return one, handled, made


async def test_a_lost_connection_is_tried_for_again_and_said_once(bench, caplog):
    caplog.set_level(logging.INFO)
    bulk, handled, made = bench
    stop = asyncio.Event()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(bulk.run(stop, lambda: None))
        while not bulk.connected:
            await asyncio.sleep(0)
        made[0].end.set_exception(AwayError("broker: gone"))
        while len(made) < 4 or not bulk.connected:
            await asyncio.sleep(0)
        assert handled.said == ["open", "save 1"]  # what is new to the broker is, once the subscription stands
        stop.set()
    assert handled.said == ["open", "save 1", "close"]
    assert not bulk.connected
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert told == ["broker connected", "broker is away", "broker connected"]
