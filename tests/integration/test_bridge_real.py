"""The bridge with a real mosquitto and real publishers. Losses are accounted for by content."""

import asyncio
import logging
import random
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from agent.clock import system_clock
from agent.config.schema import MqttConfig
from agent.model import Credential, DeviceMessage
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.accounts_file import AccountsFile
from agent.mqtt.service import MqttService
from agent.orders import DeviceQuery
from agent.runtime.notify import KeptSockets
from agent.spec import DeviceRule, Residency
from tests.fakes.mqtt_parts import FakeSink
from tests.integration.mqtt_parts import SAVE_EVERY_TURN, BridgeProcess, Broker, Device, count_until_killed, until
from tests.notified import Notified

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[[str], Broker]]:
    made: list[Broker] = []

    def make(settings: str = "") -> Broker:
        made.append(Broker(tmp_path, settings))
        return made[-1]

    yield make
    for each in made:
        each.purge()


@pytest.fixture
async def broker(make_broker: Callable[..., Broker]) -> Broker:
    one = make_broker()
    await one.start()
    return one


@pytest.fixture
def bridge(broker: Broker, tmp_path: Path) -> Iterator[BridgeProcess]:
    one = BridgeProcess(broker.port, tmp_path)
    yield one
    one.kill()


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


log = logging.getLogger(__name__)

Running = Callable[..., AbstractAsyncContextManager[MqttService]]


@pytest.fixture
def running(tmp_path: Path, sink: FakeSink) -> Running:
    @asynccontextmanager
    async def run(broker: Broker, rules: tuple[DeviceRule, ...] = ()) -> AsyncIterator[MqttService]:
        service = MqttService(
            MqttConfig(port=broker.port), tmp_path, sink, system_clock(), random.random, KeptSockets()
        )
        service.apply_rules(rules)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(service.run(stop, lambda: None))
            try:
                await until(lambda: service.connected, "the bridge to connect")
                yield service
            finally:
                stop.set()

    return run


@pytest.fixture
def device(broker: Broker) -> Iterator[Callable[..., Device]]:
    made: list[Device] = []

    def make(name: str, version: int = paho.MQTTv5) -> Device:
        made.append(Device(broker, name, version=version))
        return made[-1]

    yield make
    for each in made:
        each.close()


def numbers(messages: list[DeviceMessage], topic: str) -> list[int]:
    return [int(m.payload) for m in messages if m.topic == topic]


async def test_killed_again_and_again_it_loses_nothing_and_keeps_the_order(
    broker: Broker, bridge: BridgeProcess
) -> None:
    topics = [f"devices/d{n}/count" for n in range(5)]
    bridge.start()
    await until(bridge.ready, "the bridge to connect")
    broker.publish("devices/d0/count", "-m", "0")
    await until(lambda: bridge.lines() > 0, "the first record")
    publishers = [broker.stream(topic, 1, 1000) for topic in topics]
    for kills in range(1, 5):
        await until(lambda: bridge.lines() > 900 * kills, f"enough records for kill {kills}")  # noqa: B023  awaited here
        bridge.kill()
        bridge.start()
    await until(lambda: all(p.poll() == 0 for p in publishers), "the publishers to end")

    def missing() -> int:
        return 5001 - len({(topic, payload) for topic, payload, *_ in bridge.records()})

    await until(lambda: missing() == 0, "every message to be recorded")
    bridge.kill()

    records = [tuple(record) for record in bridge.records()]
    for topic in topics:
        seen = list(dict.fromkeys(int(payload) for name, payload, *_ in records if name == topic))
        assert seen == sorted(seen)
    # The comment at storeedge.v1.DeviceMessage.redelivered: how central knows a duplicate.
    last: deque[tuple[str, str, int]] = deque(maxlen=4000)
    kept = []
    for topic, payload, packet_id, redelivered in records:
        if not (redelivered and (topic, payload, packet_id) in last):
            kept.append((topic, payload))
        last.append((topic, payload, packet_id))
    assert len(kept) == len(set(kept)) == 5001


@pytest.mark.parametrize("messages", [300, 20200])
async def test_while_the_disk_is_full_the_broker_keeps_everything(
    broker: Broker, running: Running, sink: FakeSink, messages: int
) -> None:
    async with running(broker):
        broker.publish("devices/d/count", "-m", "0")
        await until(lambda: len(sink.messages) == 1, "the first record")
        sink.full = True
        publisher = broker.stream("devices/d/count", 1, messages)
        await until(lambda: publisher.poll() == 0, "the publisher to end")
        for _ in range(3):
            sink.tried.clear()
            await sink.tried.wait()
        # Also across a restart of the broker, which isn't seen: what it wrote is still to be read.
        broker.end(signal.SIGTERM)
        await broker.start()
        assert len(sink.messages) == 1
        sink.full = False
        await until(lambda: len(sink.messages) >= messages + 1, "all records")
        assert numbers(sink.messages, "devices/d/count") == list(range(messages + 1))


async def test_stopped_with_a_full_disk_the_next_run_gets_everything(
    broker: Broker, running: Running, sink: FakeSink
) -> None:
    async with running(broker):
        sink.full = True
        broker.stream("devices/d/count", 1, 700).wait(20)
        await sink.tried.wait()
    sink.full = False
    async with running(broker):
        await until(lambda: len(sink.messages) >= 700, "all records")
    assert numbers(sink.messages, "devices/d/count") == list(range(1, 701))


async def test_a_broker_restarted_in_order_costs_nothing_and_nothing_comes_twice(
    broker: Broker, running: Running, sink: FakeSink, device: Callable[..., Device]
) -> None:
    counter = device("d")
    async with running(broker):
        for restart in range(3):
            for number in range(restart * 500, restart * 500 + 500):
                await until(lambda n=number: counter.count("count", n), "room in flight")  # type: ignore[misc]  # bound
            broker.end(signal.SIGTERM)
            await broker.start()
        await until(lambda: len(set(numbers(sink.messages, "devices/d/count"))) == 1500, "all records", 60)
    # The device itself sends again what was not acknowledged to it: those are new messages to everybody.
    found = numbers(sink.messages, "devices/d/count")
    assert len(found) - 1500 <= 3 * 20
    assert list(dict.fromkeys(found)) == list(range(1500))


async def test_a_killed_broker_loses_nothing_that_it_acknowledged_while_the_agent_listens(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    """It writes a message to us before it acknowledges it to the device, and what it wrote is read to the end."""
    broker = make_broker("autosave_interval 1")
    await broker.start()
    bridge = BridgeProcess(broker.port, tmp_path)
    bridge.start()
    try:
        await until(bridge.ready, "the bridge to connect")
        await asyncio.sleep(2.1)  # the session is on the broker's disk
        devices = [Device(broker, f"d{n}", version=paho.MQTTv5) for n in range(5)]

        def heard() -> set[tuple[str, str]]:
            return {(topic, payload) for topic, payload, *_ in bridge.records()}

        number = 0
        for kills in range(1, 4):
            # Listening again: what the broker takes before has nobody who holds it.
            broker.publish("devices/probe/count", "-m", str(kills))
            await until(lambda n=str(kills): ("devices/probe/count", n) in heard(), "the bridge to listen")  # type: ignore[misc]  # bound
            while sum(len(each.acknowledged) for each in devices) < 800 * kills:
                number += 1
                for each in devices:
                    await until(lambda n=number, e=each: e.count("count", n), "room in flight")  # type: ignore[misc]
            broker.end(signal.SIGKILL)
            await broker.start()
        acknowledged = {(f"devices/{each.name}/count", n) for each in devices for n in each.acknowledged}
        for each in devices:
            each.close()
        assert len(acknowledged) >= 2400

        def missing() -> set[tuple[str, int]]:
            return acknowledged - {(topic, int(payload)) for topic, payload, *_ in bridge.records()}

        await until(lambda: not missing(), "everything that was acknowledged", 20)
    finally:
        bridge.kill()


async def test_a_broker_killed_just_after_the_agent_loses_nothing_that_it_acknowledged(
    broker: Broker, tmp_path: Path
) -> None:
    """What it wrote is in the kernel, in a socket that somebody else keeps open until the agent is back."""
    notified = Notified(tmp_path / "notify")
    bridge = BridgeProcess(broker.port, tmp_path, notified)
    bridge.start()
    chance = random.Random(4)
    try:
        await until(bridge.ready, "the bridge to connect")
        broker.save()
        devices = [Device(broker, f"d{n}", version=paho.MQTTv5) for n in range(5)]
        loop, number, kills = asyncio.get_running_loop(), 0, 0
        at = loop.time() + 1
        while kills < 4:
            number += 1
            for each in devices:
                await until(lambda n=number, e=each: e.count("count", n), "room in flight")  # type: ignore[misc]  # bound
            if loop.time() > at and number % 2:
                if bridge.alive():
                    bridge.kill()
                    at = loop.time() + chance.uniform(0.3, 0.8)
                else:
                    broker.end(signal.SIGKILL)
                    bridge.start()
                    await broker.start()
                    await until(bridge.ready, "the bridge to connect")
                    kills, at = kills + 1, loop.time() + 0.5
        acknowledged = {(f"devices/{each.name}/count", n) for each in devices for n in each.acknowledged}
        for each in devices:
            each.close()

        def missing() -> set[tuple[str, int]]:
            return acknowledged - {(topic, int(payload)) for topic, payload, *_ in bridge.records()}

        await until(lambda: not missing(), "everything that was acknowledged", 20)
        log.info("acknowledged %s", len(acknowledged))
        assert len(acknowledged) > 2000
    finally:
        bridge.kill()
        notified.close()


async def test_a_broker_killed_while_the_agent_is_away_loses_at_most_what_was_in_flight_to_it(
    make_broker: Callable[..., Broker], running: Running, sink: FakeSink
) -> None:
    """mosquitto 2.0 acknowledges first and writes at the end of the turn: the last turn can be lost, never more."""
    broker = make_broker(SAVE_EVERY_TURN)
    await broker.start()
    async with running(broker):
        broker.publish("devices/d/count", "-m", "0")
        await until(lambda: len(sink.messages) == 1, "the first record")
    acknowledged = await count_until_killed(broker)
    await broker.start()
    async with running(broker):
        await _drained(sink)
    lost = acknowledged - set(numbers(sink.messages, "devices/d/count"))
    log.info("acknowledged %s, lost %s", len(acknowledged), sorted(lost))
    assert len(acknowledged) > 100
    assert lost <= set(sorted(acknowledged)[-20:])


async def _drained(sink: FakeSink) -> None:
    """Until a second has passed in which nothing came."""
    seen = -1
    while seen != len(sink.messages):
        seen = len(sink.messages)
        await asyncio.sleep(1)


async def test_a_broker_that_lost_its_state_is_subscribed_to_anew(
    broker: Broker, running: Running, sink: FakeSink, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(broker) as service:
        for _ in range(2):
            for number in range(1, 4):
                broker.publish("devices/d/temp", "-m", "4.0")
                await until(lambda n=number: len(sink.messages) % 3 == n % 3, "the next record")  # type: ignore[misc]
            caplog.clear()
            broker.end(signal.SIGTERM)
            broker.forget()
            await broker.start()
            await until(lambda: "broker is away" in caplog.text and service.connected, "the bridge to come back")
    assert len(sink.messages) == 6


async def test_malformed_messages_are_passed_over_and_what_follows_arrives(
    broker: Broker, running: Running, sink: FakeSink
) -> None:
    async with running(broker):
        broker.publish("devices/nochannel", "-m", "x")
        broker.publish("devices/a b/temp", "-m", "x")
        broker.publish("devices/d/temp", payload=bytes(128 * 1024 + 1))
        with pytest.raises(subprocess.CalledProcessError):  # more than the broker takes: it hangs up
            broker.publish("devices/d/temp", payload=bytes(300 * 1024))
        broker.publish("devices/d/temp", "-V", "5", "-D", "publish", "content-type", "c" * 129, "-m", "x")
        broker.publish("devices/d/temp", payload=bytes(128 * 1024))
        broker.publish("devices/d/temp", "-V", "5", "-D", "publish", "user-property", "unit", "Cel", "-m", "4.2")
        await until(lambda: len(sink.messages) >= 2, "the good messages")
    assert [len(m.payload) for m in sink.messages] == [128 * 1024, 3]
    assert sink.messages[1].user_properties == (("unit", "Cel"),)
    async with running(broker):  # all was acknowledged: nothing is delivered again
        broker.publish("devices/d/temp", "-m", "last")
        await until(lambda: sink.messages[-1].payload == b"last", "the last message")
    assert len(sink.messages) == 3


async def test_retained_messages_come_once_and_live_ones_are_not_taken_for_retained(
    broker: Broker, running: Running, sink: FakeSink, tmp_path: Path
) -> None:
    # What nobody registered had retained would be taken away (test_retained_real).
    accounts = AccountsFile(tmp_path / "accounts.db", system_clock().wall_nano)
    accounts.put([Account("d", credential=Credential.PASSWORD)], (), ())
    accounts.close()
    broker.publish("devices/d/setpoint", "-r", "-m", "before the agent's time")
    async with running(broker):
        await until(lambda: len(sink.messages) == 1, "the retained message")
        broker.publish("devices/d/setpoint", "-r", "-m", "live")
        await until(lambda: len(sink.messages) == 2, "the live message")
    async with running(broker) as service:
        broker.end(signal.SIGTERM)
        await until(lambda: not service.connected, "the loss to be seen")
        await broker.start()
        await until(lambda: service.connected, "the bridge to come back")
        broker.publish("devices/d/temp", "-m", "end")
        await until(lambda: sink.messages[-1].payload == b"end", "the last message")
    assert [(m.payload, m.retained) for m in sink.messages] == [
        (b"before the agent's time", True),
        (b"live", False),
        (b"end", False),
    ]


async def test_a_last_will_says_that_the_device_is_gone_and_a_restart_remembers_it(
    broker: Broker, running: Running, sink: FakeSink
) -> None:
    argv = ["mosquitto_sub", "-p", str(broker.port), "-t", "devices/drone/cmd/+", "--will-topic"]
    argv += ["devices/drone/status", "--will-payload", "offline", "--will-qos", "1"]
    async with running(broker) as service:
        drone = subprocess.Popen(argv)
        broker.publish("devices/drone/status", "-m", "online")
        await until(lambda: len(sink.events) == 1, "the drone to come")
        drone.kill()
        drone.wait(20)
        await until(lambda: len(sink.events) == 2, "the drone to go")
        (before,) = service.devices(DeviceQuery()).devices
    assert [e.kind for e in sink.events] == ["device.online", "device.offline"]
    async with running(broker) as service:
        (after,) = service.devices(DeviceQuery()).devices
    assert not before.online and before.messages == 2
    assert (after.online, after.messages, after.first_seen_unix_nano) == (False, 2, before.first_seen_unix_nano)


async def test_what_a_rule_keeps_in_the_store_never_reaches_the_sink(
    broker: Broker, running: Running, sink: FakeSink
) -> None:
    rules = (DeviceRule("devices/+/camera/#", residency=Residency.STORE),)
    async with running(broker, rules) as service:
        broker.publish("devices/cam/camera/frame", "-m", "private")
        broker.publish("devices/cam/temp", "-m", "21")
        await until(lambda: len(sink.messages) == 1, "the public message")
        assert service.devices(DeviceQuery()).devices[0].messages == 2
    assert [m.payload for m in sink.messages] == [b"21"]
