"""Commands with a real mosquitto and real devices: away, killed, sent twice, and wanted by several."""

import asyncio
import os
import queue
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.mqtt.commands.asked import BURST
from agent.orders import CommandOrder, CommandState
from agent.spec import MqttGrant, MqttView
from tests.fakes.mqtt_parts import FakeSink
from tests.integration.commands_process import running
from tests.integration.mqtt_parts import TOP, Broker, Device, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

KILLS = 30


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    one = Broker(tmp_path)
    await one.start()
    yield one
    one.purge()


def order(payload: bytes, **fields: object) -> CommandOrder:
    given = {"queue_seconds": 600, "timeout_seconds": 0.05, "actor": "local:uid=0", **fields}
    return CommandOrder(device="d", name="open", payload=payload, **given)


class Tenant:
    """A job's connection: leaves commands, and has the answers in the order in which they came."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.name = name
        self.answers: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"job-{name}", protocol=paho.MQTTv5)
        self._client.on_message = lambda _c, _u, message: self.answers.put(message)
        ready: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(f"tenants/{name}/devices/+/cmd/+/ack", 1), (f"tenants/{name}/answers", 1)]
        )
        self._client.on_subscribe = lambda *_: ready.put(True)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        ready.get(timeout=10)

    def leave(self, payload: bytes, *, response_topic: str = "", words: dict[str, str] | None = None, expiry: int = 0,
              retain: bool = False, correlation: bytes = b"c") -> None:  # fmt: skip
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = correlation
        if response_topic:
            properties.ResponseTopic = response_topic
        if words:
            properties.UserProperty = list(words.items())
        if expiry:
            properties.MessageExpiryInterval = expiry
        topic = f"tenants/{self.name}/devices/d/cmd/open"
        self._client.publish(topic, payload, 1, retain=retain, properties=properties)

    async def answer(self) -> tuple[bytes, dict[str, str], str]:
        message = await asyncio.to_thread(self.answers.get, timeout=10)
        assert message.properties is not None
        assert message.properties.CorrelationData == b"c"
        return message.payload, dict(getattr(message.properties, "UserProperty", ())), message.topic

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def connected(*parts: "Device | Tenant"):
    try:
        yield
    finally:
        for part in parts:
            part.close()


async def test_a_device_that_was_away_gets_what_waited_for_it_when_it_comes(broker: Broker, tmp_path: Path) -> None:
    sink = FakeSink()
    broker.publish("devices/d/status", "-m", "offline")
    async with running(broker.port, tmp_path, sink) as (down, registry):
        broker.publish("devices/d/status", "-m", "offline")
        await until(lambda: registry.get("d") is not None, "the device to be heard of")
        told = [await down.commands.send(order(word, at_least_once=True)) for word in (b"1", b"2", b"3")]
        assert [one.state for one in told] == [CommandState.QUEUED] * 3
        device = Device(broker, "d", version=paho.MQTTv5)
        with connected(device):
            device.publish("status", "online")
            await until(
                lambda: [v.state for v in down.commands.views()] == [CommandState.ANSWERED] * 3, "three answers"
            )
        assert device.commands == [b"1", b"2", b"3"]
        assert [view.answer for view in down.commands.views()] == [b"done 1", b"done 2", b"done 3"]
        recorded = [message.topic for message in sink.messages]
        assert "devices/d/cmd/open/ack" in recorded
        assert "devices/d/cmd/open" not in recorded  # our own commands are no news


async def test_an_answer_that_came_while_the_agent_was_dead_reaches_the_record(broker: Broker, tmp_path: Path) -> None:
    broker.publish("devices/d/status", "-m", "online")
    async with running(broker.port, tmp_path, FakeSink()) as (down, registry):
        broker.publish("devices/d/status", "-m", "online")
        await until(lambda: registry.get("d") is not None, "the device to be heard of")
        told = await down.commands.send(order(b"1"))
        assert told.state is CommandState.SENT
    words = ["-V", "5", "-D", "publish", "correlation-data", told.command, "-m", "opened"]
    broker.publish("devices/d/cmd/open/ack", *words)
    async with running(broker.port, tmp_path, FakeSink()) as (down, _):
        await until(lambda: down.commands.views()[0].state is CommandState.ANSWERED, "the answer")
        assert down.commands.views()[0].answer == b"opened"


async def test_over_30_kills_what_is_sent_at_most_once_comes_once_and_at_least_once_is_answered(
    broker: Broker, tmp_path: Path
) -> None:
    device = Device(broker, "d", version=paho.MQTTv5)
    argv = [sys.executable, "-m", "tests.integration.commands_process", str(broker.port), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": f"{TOP}:{TOP / 'proto'}"}
    dice = random.Random(4)
    with connected(device):
        for _ in range(KILLS):
            process = subprocess.Popen(argv, cwd=TOP, env=environment)
            try:
                ready = tmp_path / f"ready-{process.pid}"
                await until(lambda ready=ready: ready.exists(), "the process to be connected")
                device.publish("status", "online")
                await asyncio.sleep(dice.uniform(0.01, 0.15))  # whatever it is at then
            finally:
                process.kill()
                process.wait(10)
        accepted = set((tmp_path / "accepted").read_bytes().split())
        async with running(broker.port, tmp_path, FakeSink()) as (down, _):
            device.publish("status", "online")
            await until(lambda: not _open(down), "all to be answered", 60)
    counts = Counter(device.commands)
    once = {word: count for word, count in counts.items() if word.startswith(b"once")}
    assert len(once) > KILLS
    assert set(once.values()) == {1}
    more = {word for word in accepted if word.startswith(b"more")}
    assert len(more) > KILLS
    assert more <= set(counts)


def _open(down: object) -> list[str]:
    """At least once, and not answered. Those that are sent at most once wait for their answer until they expire."""
    views = down.commands._queue._commands.values()  # type: ignore[attr-defined]
    return [c.id for c in views if c.at_least_once and c.state is not CommandState.ANSWERED]


async def test_two_tenants_and_the_store_want_one_device_and_one_has_it_at_a_time(
    broker: Broker, tmp_path: Path
) -> None:
    grant = (MqttGrant(device="d", commands=("open",)),)
    views = frozenset({MqttView("r1", "acme", "j", grant), MqttView("r2", "other", "j", grant)})
    device, acme, other = Device(broker, "d", version=paho.MQTTv5), Tenant(broker, "acme"), Tenant(broker, "other")
    sink = FakeSink()
    with connected(device, acme, other):
        async with running(broker.port, tmp_path, sink, lambda: views) as (down, registry):
            device.publish("status", "online")
            await until(lambda: registry.get("d") is not None, "the device to be heard of")
            acme.leave(b"1", response_topic="tenants/acme/answers", words={"assurance": "at-least-once"})
            payload, words, topic = await acme.answer()
            assert (payload, words["state"], topic) == (b"done 1", "answered", "tenants/acme/answers")
            other.leave(b"2", response_topic="tenants/acme/answers")  # forged: it goes where it belongs
            payload, words, topic = await other.answer()
            assert (words["refused"], topic) == ("LEASED", "tenants/other/devices/d/cmd/open/ack")
            assert b"acme" not in payload
            told = await down.commands.send(order(b"3", queue_seconds=0, timeout_seconds=10.0))
            assert told.payload == b"done 3"
            acme.leave(b"4")
            assert (await acme.answer())[1]["refused"] == "LEASED"
    assert device.commands == [b"1", b"3"]
    actors = [b.actor for batch in sink.batches for b in batch if getattr(b, "outcome", "") == "asked"]
    assert actors == ["tenant/acme", "tenant/other", "tenant/acme"]


async def test_a_tenant_that_floods_is_bounded_and_retained_commands_do_nothing(broker: Broker, tmp_path: Path) -> None:
    grant = (MqttGrant(device="d", commands=("open",)),)
    views = frozenset({MqttView("r1", "acme", "j", grant)})
    device, acme, mallory = Device(broker, "d", version=paho.MQTTv5), Tenant(broker, "acme"), Tenant(broker, "mallory")
    acme.leave(b"kept", retain=True)
    with connected(device, acme, mallory):
        async with running(broker.port, tmp_path, FakeSink(), lambda: views) as (down, registry):
            device.publish("status", "online")
            await until(lambda: registry.get("d") is not None, "the device to be heard of")
            mallory.leave(b"x")
            assert (await mallory.answer())[1]["refused"] == "PERMISSION_DENIED"
            mallory.leave(b"x", words={"assurance": "twice"})
            assert (await mallory.answer())[1]["refused"] == "BAD_REQUEST"
            for number in range(2000):
                acme.leave(str(number).encode())
            told = await down.commands.send(order(b"store", queue_seconds=0, timeout_seconds=10.0))
            assert told.payload == b"done store"
            mallory.leave(bytes(70_000))
            assert (await mallory.answer())[1]["refused"] == "BAD_REQUEST"
    assert b"kept" not in device.commands
    assert len(device.commands) <= BURST + 10
