"""One device that says all it can: it is named, and what it says from then on is the first to give way in the spool."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from agent.clock import system_clock
from agent.config.schema import MqttConfig
from agent.model import Body, DeviceMessage, Event
from agent.mqtt.registry.loud import MOST_MESSAGES
from agent.mqtt.service import MqttService
from agent.runtime.notify import KeptSockets
from agent.spec import DeviceRule
from tests.integration import raw_mqtt as raw
from tests.integration.mqtt_parts import Broker, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    one = Broker(tmp_path)
    yield one
    one.purge()


class Sink:
    """Durable at once."""

    def __init__(self) -> None:
        self.bodies: list[Body] = []

    async def __call__(self, bodies: Sequence[Body]) -> None:
        self.bodies += bodies


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def service(broker: Broker, sink: Sink, tmp_path: Path) -> AsyncIterator[MqttService]:
    await broker.start()
    one = MqttService(MqttConfig(port=broker.port), tmp_path, sink, system_clock(), random.random, KeptSockets())
    one.apply_rules((DeviceRule("devices/+/alarm", priority=9),))
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(one.run(stop, lambda: None))
        await until(lambda: one.connected, "the bridge to connect")
        yield one
        stop.set()


def flood(port: int, count: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), 20)) as connection:
        connection.sendall(raw.connect(b"evil", b"", b""))
        assert connection.recv(64)[0] == 0x20
        said = b"".join(raw.publish(b"devices/evil/x%d" % number, qos=0) for number in range(1000))
        for _ in range(count // 1000):
            connection.sendall(said)
        connection.sendall(raw.publish(b"devices/evil/last"))
        assert connection.recv(64)[0] == 0x40


async def test_a_flood_is_named_and_gives_way_to_what_others_say(
    broker: Broker, sink: Sink, service: MqttService
) -> None:
    await asyncio.to_thread(flood, broker.port, int(MOST_MESSAGES) + 5000)

    def told() -> list[Event]:
        return [body for body in sink.bodies if isinstance(body, Event) and body.kind == "device.loud"]

    await until(lambda: bool(told()), "it to be named")
    assert [event.attributes["device"] for event in told()] == ["evil"]
    for topic in ("evil/x1", "evil/alarm", "good/x", "good/alarm"):
        await asyncio.to_thread(broker.publish, f"devices/{topic}", "-m", "after")
    await until(lambda: len(said(sink)) == 4, "what was said after")
    found = {each.topic: each.priority for each in said(sink)}
    assert found == {
        "devices/evil/x1": 0,
        "devices/evil/alarm": 0,
        "devices/good/x": 5,
        "devices/good/alarm": 9,
    }


def said(sink: Sink) -> list[DeviceMessage]:
    return [body for body in sink.bodies if isinstance(body, DeviceMessage) and body.payload == b"after"]
