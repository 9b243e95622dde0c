"""A command is sent at most once, and its answer finds whoever waits."""

import asyncio

import pytest

from agent.errors import AwayError, RefusedError
from agent.model import DeviceView
from agent.mqtt.commands.commands import MAX_OUTSTANDING, MAX_REMEMBERED, Commands
from agent.mqtt.wire.delivery import Delivery
from tests.fakes.mqtt_parts import FakeTime

LOCKER = DeviceView("locker", True, 1, 1, 1, 1, "devices/locker/door")
GONE = DeviceView("gone", False, 1, 1, 1, 1, "devices/gone/status")


class Bench:
    def __init__(self):
        self.time = FakeTime()
        self.sent: list[dict] = []
        self.away = False
        self.published = asyncio.Event()
        self.known = {"locker": LOCKER, "gone": GONE}
        self.commands = Commands(self.time.clock(), self.known.get, self.publish)

    async def publish(self, topic, payload, **properties):
        if self.away:
            raise AwayError("the broker is away")
        self.sent.append({"topic": topic, "payload": payload, **properties})
        self.published.set()

    def send(self, name="open", payload=b"3", timeout=5.0, key="", device="locker"):
        return self.commands.send(device, name, payload, timeout, key)

    def answer(self, payload, correlation=b"", topic="devices/locker/cmd/open/ack", retained=False):
        self.commands.answer(Delivery(topic, payload, 1, retained, False, 1, correlation_data=correlation))

    async def until_sent(self, count):
        while len(self.sent) < count:
            self.published.clear()
            await self.published.wait()


@pytest.fixture
async def bench():
    return Bench()


async def test_the_answer_with_the_same_correlation_data_comes_back_with_its_time(bench):
    async with asyncio.TaskGroup() as group:
        call = group.create_task(bench.send())
        await bench.until_sent(1)
        bench.time.pass_seconds(0.25)
        bench.answer(b"wrong", b"not ours")
        bench.answer(b"opened", bench.sent[0]["correlation_data"])
    assert call.result() == (b"opened", 250)
    assert bench.sent == [
        {
            "topic": "devices/locker/cmd/open",
            "payload": b"3",
            "response_topic": "devices/locker/cmd/open/ack",
            "correlation_data": bench.sent[0]["correlation_data"],
            "expiry_seconds": 5,
        }
    ]
    assert len(bench.sent[0]["correlation_data"]) <= 64


async def test_two_commands_of_one_name_are_told_apart(bench):
    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(bench.send()), group.create_task(bench.send())
        await bench.until_sent(2)
        bench.answer(b"nobody knows whose")
        bench.answer(b"two", bench.sent[1]["correlation_data"])
        bench.answer(b"one", bench.sent[0]["correlation_data"])
    assert (first.result()[0], second.result()[0]) == (b"one", b"two")


async def test_an_answer_without_correlation_data_is_for_the_only_command_of_that_name(bench):
    async with asyncio.TaskGroup() as group:
        call, other = group.create_task(bench.send()), group.create_task(bench.send("close"))
        await bench.until_sent(2)
        bench.answer(b"opened")
        bench.answer(b"closed", topic="devices/locker/cmd/close/ack")
    assert (call.result()[0], other.result()[0]) == (b"opened", b"closed")


async def test_correlation_data_of_another_topic_and_retained_answers_are_not_believed(bench):
    async with asyncio.TaskGroup() as group:
        call = group.create_task(bench.send())
        await bench.until_sent(1)
        bench.answer(b"x", bench.sent[0]["correlation_data"], topic="devices/other/cmd/open/ack")
        bench.answer(b"x", bench.sent[0]["correlation_data"], retained=True)
        bench.answer(b"opened", bench.sent[0]["correlation_data"])
    assert call.result()[0] == b"opened"


async def test_no_answer_is_a_deadline_and_a_late_one_hurts_nobody(bench):
    with pytest.raises(RefusedError) as refused:
        await bench.send(timeout=0.01)
    assert refused.value.reason == "DEADLINE"
    assert bench.commands._outstanding == {}
    bench.answer(b"late", bench.sent[0]["correlation_data"])


@pytest.mark.parametrize(("device", "reason"), [("never-seen", "NOT_FOUND"), ("gone", "AWAY")])
async def test_to_a_device_that_is_unknown_or_offline_nothing_is_sent(bench, device, reason):
    with pytest.raises(RefusedError) as refused:
        await bench.send(device=device)
    assert refused.value.reason == reason
    assert bench.sent == []


async def test_without_a_broker_nothing_was_sent_and_the_key_may_be_used_again(bench):
    bench.away = True
    with pytest.raises(RefusedError) as refused:
        await bench.send(key="k")
    assert refused.value.reason == "AWAY"
    bench.away = False
    async with asyncio.TaskGroup() as group:
        call = group.create_task(bench.send(key="k"))
        await bench.until_sent(1)
        bench.answer(b"opened")
    assert call.result()[0] == b"opened"


async def test_the_same_key_is_sent_once_and_gets_the_same_answer(bench):
    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(bench.send(key="k")), group.create_task(bench.send(key="k"))
        await bench.until_sent(1)
        bench.answer(b"opened")
    assert first.result() == second.result()
    assert await bench.send(key="k") == first.result()
    assert len(bench.sent) == 1


async def test_after_a_deadline_the_same_key_waits_for_the_late_answer_and_sends_nothing(bench):
    with pytest.raises(RefusedError):
        await bench.send(key="k", timeout=0.01)
    bench.answer(b"late", bench.sent[0]["correlation_data"])
    assert (await bench.send(key="k"))[0] == b"late"
    assert len(bench.sent) == 1


async def test_a_forgotten_late_command_does_not_hide_the_one_that_waits(bench):
    with pytest.raises(RefusedError):
        await bench.send(key="old", timeout=0.01)
    async with asyncio.TaskGroup() as group:
        call = group.create_task(bench.send(key="new"))
        await bench.until_sent(2)
        bench.answer(b"opened")
    assert call.result()[0] == b"opened"


async def test_keys_that_are_remembered_are_bounded(bench):
    for number in range(MAX_REMEMBERED + 5):
        with pytest.raises(RefusedError):
            await bench.send(key=str(number), timeout=0.0001)
    assert len(bench.commands._remembered) == len(bench.commands._outstanding) == MAX_REMEMBERED


async def test_commands_under_way_are_bounded(bench):
    async with asyncio.TaskGroup() as group:
        for number in range(MAX_OUTSTANDING):
            group.create_task(bench.send(f"c{number}"))
        await bench.until_sent(MAX_OUTSTANDING)
        with pytest.raises(RefusedError) as refused:
            await bench.send()
        for sent in bench.sent:
            bench.answer(b"", sent["correlation_data"], topic=sent["response_topic"])
    assert refused.value.reason == "NO_ROOM"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": "+"},
        {"name": "x" * 65},
        {"payload": bytes(64 * 1024 + 1)},
        {"timeout": 0.0},
        {"timeout": 61.0},
        {"key": "k" * 65},
    ],
)
async def test_what_is_out_of_bounds_is_a_bad_request(bench, wrong):
    with pytest.raises(RefusedError) as refused:
        await bench.send(**wrong)
    assert refused.value.reason == "BAD_REQUEST"
    assert bench.sent == []
