"""Recorded first, acknowledged after; nothing twice that can be known to be twice."""

import asyncio

import pytest

from agent.mqtt.bridge import Bridge
from agent.mqtt.handled import Handled, mark
from agent.mqtt.registry.registry import Registry
from agent.mqtt.rules.backlog import Backlog
from agent.mqtt.rules.held import Held
from agent.mqtt.rules.rules import Rules
from agent.mqtt.wire.delivery import Delivery
from agent.spec import DeviceRule
from tests.fakes.mqtt_parts import FakeIntake, FakeSink, FakeTime


class Bench:
    """A bridge with everything around it; `turn` runs `drain` until all that was delivered is dealt with."""

    def __init__(self, directory):
        self.sink, self.time, self.registry, backlog = FakeSink(), FakeTime(), Registry(), Backlog()
        self.rules = Rules(backlog)
        self.held = Held(directory / "held.db", backlog, self.time.clock(), lambda: "epoch")
        self.handled = Handled(directory / "handled")
        self.handled.open()
        clock = self.time.clock()
        self.bridge = Bridge(self.sink, self.registry, self.rules, self.held, self.handled, clock, lambda: 0.0)
        self.intake = self.another_intake()
        self.waiting = []
        self.beats = 0

    def another_intake(self):
        intake = FakeIntake()
        intake.on_acknowledged = self.acknowledged
        return intake

    def deliver(self, *deliveries, intake=None, again=False):
        """As one look, which waits until the one before is acknowledged."""
        self.waiting.append((intake or self.intake, list(deliveries), again))
        if len(self.waiting) == 1:
            self.bridge.deliver(*self.waiting[0])

    def acknowledged(self):
        del self.waiting[0]
        if self.waiting:
            self.bridge.deliver(*self.waiting[0])

    def beat(self):
        self.beats += 1

    async def turn(self):
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.bridge.drain(stop, self.beat))
            while self.waiting:
                await asyncio.sleep(0)
            stop.set()
            self.bridge.wake()


@pytest.fixture
async def bench(tmp_path):
    one = Bench(tmp_path)
    yield one
    one.handled.close()
    await one.held.close()


def message(packet_id, payload=b"1", topic="devices/d/temp", **more):
    fields = {"qos": 1 if packet_id else 0, "retained": False, "redelivered": False, **more}
    return Delivery(topic, payload, packet_id=packet_id, **fields)


def copies(*packet_ids, payload=b"1"):
    return [message(each, payload, redelivered=True) for each in packet_ids]


async def test_messages_are_acknowledged_in_order_in_one_write_once_they_are_durable(bench):
    bench.deliver(*(message(n, str(n).encode()) for n in range(1, 6)))
    await bench.turn()
    assert [m.payload for m in bench.sink.messages] == [b"1", b"2", b"3", b"4", b"5"]
    assert bench.intake.acknowledged == [1, 2, 3, 4, 5]
    assert bench.intake.writes == [5]
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
        assert bench.intake.acknowledged == []
        assert not bench.bridge.settled
        assert not bench.handled.has(mark(1, "devices/d/temp", b"1"))
        bench.sink.full = False
        while bench.intake.acknowledged != [1, 2, 3]:
            await asyncio.sleep(0)
        stop.set()
        bench.bridge.wake()
    assert [m.packet_id for m in bench.sink.messages] == [1, 2, 3]
    assert len(bench.sink.events) == 1
    assert bench.beats >= 3


async def test_the_next_batch_is_decided_at_once_and_recorded_when_the_one_before_is_out_of_the_kernel(bench):
    bench.intake.on_acknowledged = lambda: None
    bench.intake.settled.clear()  # acknowledgements that the broker doesn't read yet
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.bridge.drain(stop, bench.beat))
        bench.bridge.deliver(bench.intake, [message(1)], again=False)
        bench.bridge.deliver(bench.intake, [message(2, topic="devices/e/temp")], again=False)
        for _ in range(20):
            await asyncio.sleep(0)
        assert bench.registry.get("e") is not None
        assert bench.intake.acknowledged == [1]
        assert [m.packet_id for m in bench.sink.messages] == [1]
        assert not bench.bridge.settled
        bench.intake.settled.set()
        while bench.intake.acknowledged != [1, 2]:
            await asyncio.sleep(0)
        stop.set()
        bench.bridge.wake()
    assert bench.bridge.settled


async def test_stopping_while_the_sink_is_full_leaves_the_messages_to_the_broker(bench, tmp_path):
    bench.sink.full = True
    bench.bridge._draw = lambda: 1.0
    stop = asyncio.Event()
    bench.deliver(message(1))
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.bridge.drain(stop, bench.beat))
        await bench.sink.tried.wait()
        stop.set()
    assert bench.intake.acknowledged == []
    assert not bench.bridge.settled
    assert (tmp_path / "handled").stat().st_size == 0


async def test_what_a_rule_keeps_in_the_store_is_acknowledged_and_not_recorded(bench):
    bench.rules.set_central((DeviceRule("devices/cam/#", forward=False),))
    bench.deliver(message(1, topic="devices/cam/picture"), message(2))
    await bench.turn()
    assert [m.topic for m in bench.sink.messages] == ["devices/d/temp"]
    assert bench.intake.acknowledged == [1, 2]
    assert bench.registry.get("cam") is not None


async def test_what_a_rule_holds_is_on_disk_before_it_is_acknowledged_and_is_put_once(bench):
    bench.rules.set_central((DeviceRule("devices/d/#", batch_seconds=60),))
    bench.sink.full = True
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.bridge.drain(stop, bench.beat))
        bench.deliver(message(1), message(2, topic="devices/e/temp"))
        for _ in range(3):
            bench.sink.tried.clear()
            await bench.sink.tried.wait()
        assert bench.intake.acknowledged == []
        bench.sink.full = False
        while bench.intake.acknowledged != [1, 2]:
            await asyncio.sleep(0)
        stop.set()
        bench.bridge.wake()
    assert [m.topic for m in bench.sink.messages] == ["devices/e/temp"]
    bench.time.pass_seconds(61)
    rows = await bench.held.due(bench.time.clock().seconds())
    assert [m.topic for _, m in rows] == ["devices/d/temp"]


async def test_a_malformed_message_is_acknowledged_and_logged_once_a_minute_for_each_device(bench, caplog):
    huge = bytes(200_000)
    bench.deliver(message(1, topic="devices/x"), message(2, huge), message(3, huge), message(4, huge))
    await bench.turn()
    assert bench.intake.acknowledged == [1, 2, 3, 4]
    assert bench.sink.batches == []
    assert [r.device for r in caplog.records] == ["", "d"]
    bench.time.pass_seconds(61)
    bench.deliver(message(5, huge))
    await bench.turn()
    assert caplog.records[-1].more_since_last == 2


async def test_what_nobody_wants_any_more_is_dropped_and_counted(bench, caplog):
    bench.deliver(message(1, b"gone", expiry_seconds=0), message(2, b"soon", expiry_seconds=5), message(3, b"late"))
    await bench.turn()
    assert [m.payload for m in bench.sink.messages] == [b"soon", b"late"]
    assert bench.sink.messages[0].expires_unix_nano == 1_005_000_000_000
    assert bench.intake.acknowledged == [1, 2, 3]
    assert bench.bridge.expired == 1
    assert "expired" in caplog.text


async def test_a_second_copy_after_a_lost_acknowledgement_is_acknowledged_and_not_recorded(bench):
    bench.deliver(message(1), message(2))
    await bench.turn()
    later = bench.another_intake()
    bench.deliver(*copies(2), message(3, b"3"), intake=later)
    await bench.turn()
    assert [m.packet_id for m in bench.sink.messages] == [1, 2, 3]
    assert later.acknowledged == [2, 3]


async def test_a_second_copy_after_a_kill_is_acknowledged_and_not_recorded(bench, tmp_path):
    bench.deliver(message(1), message(2, qos=2))
    await bench.turn()
    again = Bench(tmp_path)
    again.deliver(*copies(1), message(2, redelivered=True, qos=2), *copies(3))
    await again.turn()
    assert [m.packet_id for m in again.sink.messages] == [3]
    assert again.intake.acknowledged == [1, 2, 3]
    again.handled.close()


@pytest.mark.parametrize("marked", [True, False])
async def test_what_a_kill_left_in_the_kernel_is_recorded_once_or_told_to_central(bench, tmp_path, marked):
    """The same look again, with more behind it: marked before the kill, or only recorded."""
    bench.deliver(message(1), message(2, b"2"), message(0, b"qos 0"), message(3, b"3", redelivered=True))
    await bench.turn()
    if not marked:
        (tmp_path / "handled").write_bytes(b"")
    again = Bench(tmp_path)
    look = [message(1), message(2, b"2"), message(3, b"3", redelivered=True), message(4), message(0, b"qos 0")]
    again.deliver(*look, again=True)
    again.deliver(message(5))
    await again.turn()
    expected = [(4, True), (0, False), (5, False)]
    assert [(m.packet_id, m.redelivered) for m in again.sink.messages] == (
        expected if marked else [(1, True), (2, True), (3, True), *expected]
    )
    assert again.intake.acknowledged == [1, 2, 3, 4, 5]
    again.handled.close()


async def test_what_a_kill_left_in_the_kernel_is_no_copy_because_something_older_was_like_it(bench):
    """A broker that was killed gives packet ids again, and a thermometer always says the same."""
    bench.deliver(*(message(n) for n in range(1, 10)))
    await bench.turn()
    bench.deliver(message(3), message(4), again=True)
    await bench.turn()
    assert [m.packet_id for m in bench.sink.messages[-2:]] == [3, 4]


async def test_a_packet_id_used_again_for_something_else_is_not_a_copy(bench):
    bench.deliver(message(1, b"old"))
    await bench.turn()
    bench.deliver(message(1, b"new", redelivered=True))
    await bench.turn()
    assert [m.payload for m in bench.sink.messages] == [b"old", b"new"]


async def test_in_a_new_session_packet_ids_say_nothing_of_the_old_one(bench):
    bench.deliver(message(1))
    bench.deliver(message(2))
    await bench.turn()
    bench.bridge.forget()
    later = bench.another_intake()
    bench.deliver(*copies(1, 2), intake=later)
    await bench.turn()
    assert [m.packet_id for m in bench.sink.messages] == [1, 2, 1, 2]
    assert later.acknowledged == [1, 2]


async def test_a_repeated_value_is_not_a_copy(bench):
    bench.deliver(message(1), message(1))
    await bench.turn()
    assert len(bench.sink.messages) == 2


async def test_a_redelivery_that_nobody_here_saw_is_recorded_and_marked(bench):
    bench.deliver(*copies(9))
    await bench.turn()
    assert bench.sink.messages[0].redelivered and bench.sink.messages[0].packet_id == 9


async def test_properties_reach_the_record(bench):
    bench.deliver(message(1)._replace(content_type="text/plain", user_properties=(("idempotency-key", "k"),)))
    await bench.turn()
    assert bench.sink.messages[0].content_type == "text/plain"
    assert bench.sink.messages[0].idempotency_key == "k"


async def test_what_a_decoder_should_know_and_doesnt_is_not_forwarded_but_acknowledged(bench):
    bench.deliver(message(1, b"\xff", topic="spBv1.0/g/NBIRTH/node"))
    await bench.turn()
    assert bench.sink.messages == []
    assert bench.intake.acknowledged == [1]
