"""What stands between the bridge and the spool: answers first, our own commands left out."""

import asyncio

import pytest

from agent.config.schema import MqttConfig
from agent.errors import AwayError, StorageError
from agent.model import DeviceMessage, DeviceProtocol, DeviceView, Event
from agent.mqtt.access.accounts import Account
from agent.mqtt.commands.down import Down, Known
from agent.mqtt.commands.outcome import Asked
from agent.mqtt.commands.queue import Gate
from agent.mqtt.commands.route import Speaks
from agent.mqtt.rules.compile import compile_rules
from agent.orders import CommandState
from agent.spec import DeviceRule, MqttGrant, MqttView, Residency
from tests.fakes.command_parts import FullFile, order
from tests.fakes.mqtt_parts import FakeSink, FakeTime

LOCKER = DeviceView("locker", True, 1, 1, 1, 1, "")


class Shop:
    def __init__(self, tmp_path):
        self.sink = FakeSink()
        self.views = frozenset({MqttView("r", "acme", "j", (MqttGrant(device="locker", commands=("open",)),))})
        self.rules = compile_rules(())
        known = Known(
            device={"locker": LOCKER}.get,
            rule=lambda topic: self.rules.find(topic),
            account={"tag": Account("tag", protocol=DeviceProtocol.SPARKPLUG, group="g")}.get,
            views=lambda: self.views,
        )
        clock = FakeTime().clock()
        self.down = Down(MqttConfig(), tmp_path, self.sink, clock, lambda: 0.0, known, "")
        self.file = self.down.commands._file = FullFile(tmp_path / "commands.db")


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
async def open_shop(shop):
    async with asyncio.TaskGroup() as group:
        running = group.create_task(shop.down.commands.run())
        await shop.down.commands.opened()
        yield shop
        running.cancel()


def asked(shop):
    return shop.down.commands.ask(order(queue_seconds=60), Asked())


async def test_an_answer_is_on_disk_before_its_record_and_a_full_disk_stops_both(open_shop):
    command = asked(open_shop)
    await open_shop.down.commands.stored()
    open_shop.down.commands._queue.turn(open_shop.down.commands._now(), lambda _: Gate.GO)
    ack = DeviceMessage("locker", "devices/locker/cmd/open/ack", b"a", correlation_data=command.id.encode())
    open_shop.file.full = True
    with pytest.raises(StorageError):
        await open_shop.down.record([ack])
    assert open_shop.sink.batches == []
    open_shop.file.full = False
    await open_shop.down.record([ack])
    assert open_shop.down.commands.views()[0].state is CommandState.ANSWERED
    assert ack in open_shop.sink.messages


async def test_our_own_commands_are_no_news_and_those_of_others_are(open_shop):
    command = asked(open_shop)
    ours = DeviceMessage("locker", "devices/locker/cmd/open", b"3", correlation_data=command.id.encode())
    others = DeviceMessage("locker", "devices/locker/cmd/open", b"3", correlation_data=b"x")
    await open_shop.down.record([ours, others, Event("device.online", attributes={"device": "locker"})])
    assert open_shop.sink.messages == [others]


async def test_answers_wait_until_it_is_known_what_was_asked(shop, monkeypatch):
    monkeypatch.setattr("agent.mqtt.commands.commands._OPEN_SECONDS", 0.01)
    with pytest.raises(StorageError):
        await shop.down.record([DeviceMessage("locker", "devices/locker/cmd/open/ack", b"a")])
    await shop.down.record([DeviceMessage("locker", "devices/locker/door", b"a")])
    assert [message.topic for message in shop.sink.messages] == ["devices/locker/door"]


def test_a_device_that_is_registered_and_was_never_heard_of_is_offline(shop):
    assert [shop.down._online(device) for device in ("locker", "tag", "none")] == [True, False, None]
    assert shop.down._speaks("tag") == Speaks(DeviceProtocol.SPARKPLUG, "g")


def test_who_may_goes_by_the_grants_of_now(shop):
    assert shop.down._may("acme", "locker", "open") in shop.views
    assert shop.down._may("acme", "locker", "close") is None
    shop.views = None
    with pytest.raises(AwayError):
        shop.down._may("acme", "locker", "open")


def test_answers_of_topics_that_stay_in_the_store_or_are_redacted_stay(shop):
    topic = "devices/locker/cmd/open/ack"
    assert not shop.down._stays(topic)
    shop.rules = compile_rules((DeviceRule("devices/locker/#", residency=Residency.STORE),))
    assert shop.down._stays(topic)
    shop.rules = compile_rules((DeviceRule("devices/locker/#", redact=("pin",)),))
    assert shop.down._stays(topic)
