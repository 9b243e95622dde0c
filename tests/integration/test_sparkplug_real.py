"""Edge nodes that others wrote, through a real mosquitto: what their libraries sent, and the last will of one.

The captures say which libraries (tests/fixtures/mqtt/README.md); the connection here is paho's, so that a real broker
sends a real last will.
"""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from agent.clock import system_clock
from agent.config.schema import MqttConfig
from agent.model import DeviceView
from agent.mqtt.service import MqttService
from agent.orders import DeviceQuery
from agent.runtime.notify import KeptSockets
from agent.spec import DeviceRule, Residency
from tests.fakes.mqtt_parts import FakeSink
from tests.fixtures.captures import Capture, captures
from tests.integration.mqtt_parts import Broker, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


class EdgeNode:
    """Sends what a capture has; its last message is the last will, as it was in the capture."""

    def __init__(self, broker: Broker, capture: list[Capture]) -> None:
        *self._messages, will = capture
        self.commands: list[tuple[str, bytes]] = []
        self._ready = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self._client.will_set(will.topic, will.payload)
        self._client.on_message = lambda _client, _data, m: self.commands.append((m.topic, m.payload))
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        group, node = will.topic.split("/")[1], will.topic.split("/")[3]
        self._client.subscribe(f"spBv1.0/{group}/NCMD/{node}")
        assert self._ready.wait(10)

    def say(self, first: int = 0, last: int | None = None) -> None:
        for message in self._messages[first:last]:
            self._client.publish(message.topic, message.payload).wait_for_publish(10)

    def vanish(self) -> None:
        """No DISCONNECT: the broker publishes the will."""
        sock = self._client.socket()
        assert sock is not None
        self._client.loop_stop()
        sock.close()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    one = Broker(tmp_path)
    await one.start()
    yield one
    one.purge()


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
async def service(broker: Broker, tmp_path: Path, sink: FakeSink) -> AsyncIterator[MqttService]:
    one = MqttService(MqttConfig(port=broker.port), tmp_path, sink, system_clock(), random.random, KeptSockets())
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(one.run(stop, lambda: None))
        await until(lambda: one.connected, "the bridge to connect")
        yield one
        stop.set()


def device(service: MqttService, name: str) -> DeviceView:
    (view,) = service.devices(DeviceQuery(device=name)).devices
    return view


def events(sink: FakeSink) -> Iterator[tuple[str, str]]:
    return ((event.kind, event.attributes.get("device", "")) for event in sink.events)


async def test_births_and_data_are_named_and_the_last_will_takes_the_node_and_its_devices(
    broker: Broker, service: MqttService, sink: FakeSink
) -> None:
    node = EdgeNode(broker, captures("sparkplug-pysparkplug"))
    node.say()
    await until(lambda: len(sink.messages) == 3, "three records")
    assert {v.name: v.value for v in sink.messages[1].values} == {
        "Temperature": 4.5,
        "Door/Open": False,
        "Offset": -12,
        "Serial": "FR-0042",
    }
    assert {v.name: v.value for v in device(service, "fridges").values}["Uptime"] == 90062
    assert device(service, "fridges.cold-1").online
    node.vanish()
    await until(lambda: not device(service, "fridges.cold-1").online, "the last will")
    assert not device(service, "fridges").online
    assert {("device.offline", "fridges"), ("device.offline", "fridges.cold-1")} <= set(events(sink))
    assert node.commands == []


async def test_an_alias_is_named_after_the_rebirth_that_the_agent_asks_for(
    broker: Broker, service: MqttService, sink: FakeSink
) -> None:
    node = EdgeNode(broker, captures("sparkplug-client"))
    node.say(first=2, last=3)  # data, and nobody has seen its birth: the agent was started after it
    await until(lambda: node.commands != [], "the agent to ask for births")
    assert node.commands[0][0] == "spBv1.0/store-7/NCMD/ovens"
    assert ("device.malformed", "ovens.left") in set(events(sink))
    node.say(last=3)
    await until(lambda: device(service, "ovens.left").messages == 3, "data, its birth, and data")
    (before, after) = [m for m in sink.messages if m.topic == "spBv1.0/store-7/DDATA/ovens/left"]
    assert before.values == () and before.payload == after.payload
    assert {v.name: (v.value, v.unit) for v in after.values} == {
        "Temperature": (183.0, "Cel"),
        "Heating": (False, ""),
    }
    node.vanish()


async def test_what_stays_in_the_store_is_in_no_record_and_no_view(
    broker: Broker, service: MqttService, sink: FakeSink
) -> None:
    service.apply_rules((DeviceRule("spBv1.0/+/DBIRTH/#", residency=Residency.STORE),))
    node = EdgeNode(broker, captures("sparkplug-client"))
    node.say(last=3)
    await until(lambda: len(sink.messages) == 2, "the birth of the node, and data")
    assert sink.messages[1].values == ()  # the names are those of a birth that stays
    assert device(service, "ovens.left").values == ()
    assert "Temperature" not in repr(sink.batches)
    node.vanish()


async def test_a_malformed_payload_is_reported_and_forwarded_only_if_a_rule_says_so(
    broker: Broker, service: MqttService, sink: FakeSink
) -> None:
    broker.publish("spBv1.0/g/NDATA/n", "-m", "this is no payload")
    await until(lambda: ("device.malformed", "n") in set(events(sink)), "the complaint")
    assert sink.messages == []
    service.apply_rules((DeviceRule("spBv1.0/#", undecoded=True),))
    broker.publish("spBv1.0/g/NDATA/n", "-m", "this is no payload")
    await until(lambda: sink.messages != [], "the raw message")
    assert (sink.messages[0].payload, sink.messages[0].values) == (b"this is no payload", ())
