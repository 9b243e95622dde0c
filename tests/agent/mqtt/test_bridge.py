"""Recorded first, acknowledged after; nothing twice that can be known to be twice."""

import asyncio

import pytest

from agent.mqtt.bridge import Bridge
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.registry.registry import Registry
from agent.spec import DeviceRule
from tests.fakes.mqtt_parts import FakeConnection, FakeSink, FakeTime


class Bench:
    """A bridge with everything around it; `turn` runs `drain` until all that was delivered is dealt with."""

    def __init__(self, receive_maximum=10):
        self.sink, self.time, self.registry = FakeSink(), FakeTime(), Registry()
        self.bridge = Bridge(self.sink, self.registry, self.time.clock(), lambda: 0.0, receive_maximum)
        self.connection = FakeConnection()
        self.beats = 0

    def deliver(self, *deliveries, connection=None):
        for delivery in deliveries:
            self.bridge.deliver(connection or self.connection, delivery)

    def beat(self):
        self.beats += 1

    async def turn(self):
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.bridge.drain(stop, self.beat))
            while self.bridge._inbox or not self.bridge.settled:
                await asyncio.sleep(0)
            stop.set()
            self.bridge.wake()


@pytest.fixture
async def bench():
    return Bench()


def message(packet_id, payload=b"1", topic="devices/d/temp", **more):
    fields = {"qos": 1 if packet_id else 0, "retained": False, "redelivered": False, **more}
    return Delivery(topic, payload, packet_id=packet_id, **fields)


async def test_messages_are_acknowledged_in_order_once_they_are_durable(bench):
    bench.deliver(*(message(n, str(n).encode()) for n in range(1, 6)))
    await bench.turn()
    assert [m.payload for m in bench.sink.messages] == [b"1", b"2", b"3", b"4", b"5"]
    assert bench.connection.acknowledged == [1, 2, 3, 4, 5]
    assert len(bench.sink.batches) == 1


async def test_the_device_going_online_is_recorded_in_the_same_commit_before_its_message(bench):
    bench.deliver(message(1))
    await bench.turn()
    assert [type(body).__name__ for body in bench.sink.batches[0]] == ["Event", "DeviceMessage"]


async def test_nothing_is_acknowledged_while_the_sink_is_full_and_everything_after(bench):
    bench.sink.full = True
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.bridge.drain(stop, bench.beat))
        bench.deliver(message(1), message(2))
        for _ in range(3):
            bench.sink.tried.clear()
            await bench.sink.tried.wait()
        bench.deliver(message(3))
        assert bench.connection.acknowledged == []
        assert not bench.bridge.settled
        bench.sink.full = False
        while bench.connection.acknowledged != [1, 2, 3]:
            await asyncio.sleep(0)
        stop.set()
        bench.bridge.wake()
    assert [m.packet_id for m in bench.sink.messages] == [1, 2, 3]
    assert len(bench.sink.events) == 1
    assert bench.beats >= 3


async def test_stopping_while_the_sink_is_full_leaves_the_messages_to_the_broker(bench):
    bench.sink.full = True
    bench.bridge._draw = lambda: 1.0
    stop = asyncio.Event()
    bench.deliver(message(1))
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.bridge.drain(stop, bench.beat))
        await bench.sink.tried.wait()
        stop.set()
    assert bench.connection.acknowledged == []
    assert not bench.bridge.settled


async def test_what_a_rule_keeps_in_the_store_is_acknowledged_and_not_recorded(bench):
    bench.bridge.rules.set_central((DeviceRule("devices/cam/#", forward=False),))
    bench.deliver(message(1, topic="devices/cam/picture"), message(2))
    await bench.turn()
    assert [m.topic for m in bench.sink.messages] == ["devices/d/temp"]
    assert bench.connection.acknowledged == [1, 2]
    assert bench.registry.get("cam") is not None


async def test_a_malformed_message_is_acknowledged_and_logged_once_a_minute_for_each_device(bench, caplog):
    huge = bytes(200_000)
    bench.deliver(message(1, topic="devices/x"), message(2, huge), message(3, huge), message(4, huge))
    await bench.turn()
    assert bench.connection.acknowledged == [1, 2, 3, 4]
    assert bench.sink.batches == []
    assert [r.device for r in caplog.records] == ["", "d"]
    bench.time.pass_seconds(61)
    bench.deliver(message(5, huge))
    await bench.turn()
    assert caplog.records[-1].more_since_last == 2


async def test_a_second_copy_after_a_lost_acknowledgement_is_acknowledged_and_not_recorded(bench):
    bench.deliver(message(1), message(2, b"2"))
    await bench.turn()
    later = FakeConnection()
    bench.deliver(message(2, b"2", redelivered=True), message(3, b"3"), connection=later)
    await bench.turn()
    assert [m.packet_id for m in bench.sink.messages] == [1, 2, 3]
    assert later.acknowledged == [2, 3]


async def test_a_second_copy_of_what_still_waits_takes_over_the_connection(bench):
    bench.deliver(message(1), message(2, b"2"))
    later = FakeConnection()
    bench.deliver(message(1, redelivered=True), message(2, b"2", redelivered=True), message(3), connection=later)
    await bench.turn()
    assert [m.packet_id for m in bench.sink.messages] == [1, 2, 3]
    assert later.acknowledged == [1, 2, 3]
    assert bench.connection.acknowledged == []


async def test_a_packet_id_used_again_for_something_else_is_not_a_copy(bench):
    bench.deliver(message(1, b"old"))
    await bench.turn()
    bench.deliver(message(1, b"new", redelivered=True))
    await bench.turn()
    assert [m.payload for m in bench.sink.messages] == [b"old", b"new"]


async def test_in_a_new_session_packet_ids_say_nothing_of_the_old_one(bench):
    bench.deliver(message(1))
    await bench.turn()
    bench.deliver(message(2))
    bench.bridge.forget()
    later = FakeConnection()
    # mosquitto marks all that it had queued as redelivered, also what it never sent.
    bench.deliver(message(1, redelivered=True), message(2, redelivered=True), connection=later)
    await bench.turn()
    assert [m.packet_id for m in bench.sink.messages] == [1, 2, 1, 2]
    assert later.acknowledged == [1, 2]


async def test_a_repeated_value_is_not_a_copy(bench):
    bench.deliver(message(1), message(1))
    await bench.turn()
    assert len(bench.sink.messages) == 2


async def test_a_redelivery_that_nobody_here_saw_is_recorded_and_marked(bench):
    bench.deliver(message(9, redelivered=True))
    await bench.turn()
    assert bench.sink.messages[0].redelivered and bench.sink.messages[0].packet_id == 9


async def test_the_memory_of_copies_is_bounded(bench):
    bench.deliver(*(message(n) for n in range(1, 82)))
    await bench.turn()
    assert len(bench.bridge._handled) == 80
    bench.deliver(message(1, redelivered=True), message(81, redelivered=True))
    await bench.turn()
    assert [m.packet_id for m in bench.sink.messages] == [*range(1, 82), 1]


@pytest.mark.parametrize("first", [0, 1])
async def test_when_enough_waits_the_connection_is_not_read_until_it_is_stored(bench, first):
    bench.deliver(*(message(first and n) for n in range(1, 10)))
    assert not bench.connection.paused
    bench.sink.full = True
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.bridge.drain(stop, bench.beat))
        await bench.sink.tried.wait()
        assert not bench.connection.paused
        bench.deliver(message(first and 10))  # nine are in hand, none is stored
        assert bench.connection.paused
        bench.sink.full = False
        while bench.connection.paused:
            await asyncio.sleep(0)
        stop.set()
        bench.bridge.wake()
    assert len(bench.sink.messages) >= 9


async def test_after_a_lost_connection_only_the_new_one_pauses(bench):
    bench.deliver(*(message(n) for n in range(1, 11)))
    later = FakeConnection()
    bench.deliver(*(message(n, redelivered=True) for n in range(1, 11)), connection=later)
    assert not later.paused
    bench.deliver(message(11), connection=later)
    assert later.paused
    await bench.turn()
    assert not later.paused
    assert later.acknowledged == list(range(1, 12))


async def test_one_commit_is_bounded(bench):
    big = Bench(receive_maximum=5000)
    big.deliver(*(message(n % 65535 + 1, str(n).encode()) for n in range(2500)))
    await big.turn()
    assert [len(batch) for batch in big.sink.batches] == [1001, 1000, 500]
    big = Bench(receive_maximum=500)
    big.deliver(*(message(n, bytes(128 * 1024)) for n in range(1, 65)))
    await big.turn()
    assert [len(batch) for batch in big.sink.batches] == [33, 32]


async def test_properties_reach_the_record(bench):
    bench.deliver(message(1)._replace(content_type="text/plain"))
    await bench.turn()
    assert bench.sink.messages[0].content_type == "text/plain"
