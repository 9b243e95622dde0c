"""The registry over time, without a broker."""

import asyncio

import pytest

from agent.errors import AwayError, StorageError
from agent.mqtt.access.accounts import Account
from agent.mqtt.registry.keeper import Keeper
from agent.mqtt.registry.registry import Registry
from agent.mqtt.registry.registry_file import RegistryFile
from agent.mqtt.topics import parse
from agent.mqtt.wire.delivery import Delivery
from agent.orders import DeviceQuery
from tests.fakes.mqtt_parts import FakeSink, FakeTime


class Store:
    """One registry with its surroundings."""

    def __init__(self, path):
        self.time, self.sink, self.registry = FakeTime(), FakeSink(), Registry()
        self.listening, self.settled, self.away = True, True, False
        self.published = []
        self.file = RegistryFile(path)
        self.keeper = Keeper(
            self.registry,
            self.file,
            self.sink,
            self.time.clock(),
            self.publish,
            lambda: self.listening,
            lambda: self.settled,
        )

    async def publish(self, topic, payload, *, qos):
        if self.away:
            raise AwayError("gone")
        self.published.append((topic, qos))

    def say(self, topic, payload=b"1"):
        where = parse(topic)
        delivery = Delivery(topic, payload, 1, False, False, 1)
        decoded = self.registry.decode(where, delivery)
        return self.registry.observe(where, delivery, self.time.nano, True, decoded)

    async def turns(self, seconds):
        for _ in range(0, seconds, 5):
            self.time.pass_seconds(5)
            await self.keeper.turn()

    def silent(self):
        return [event.attributes["device"] for event in self.sink.events if event.kind == "device.silent"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "devices.sqlite"


@pytest.fixture
async def store(path):
    one = Store(path)
    await one.keeper.restore()
    yield one
    await one.keeper.close()


async def test_what_one_run_knew_the_next_one_knows(store, path):
    for number in range(5000):
        store.say(f"devices/d{number}/x")
    await store.keeper.close()
    after = Store(path)
    await after.keeper.restore()
    assert after.registry.page(DeviceQuery(), 0).total == 5000
    await after.keeper.close()


async def test_what_the_spool_does_not_have_yet_is_not_saved(store, path):
    store.settled = False
    store.say("devices/d/x")
    await store.keeper.turn()
    assert RegistryFile(path).load() == ((), ())
    store.settled = True
    await store.keeper.turn()
    assert [row.id for row in RegistryFile(path).load()[0]] == ["d"]


async def test_a_file_that_cannot_be_written_is_a_state(store, monkeypatch, caplog):
    store.say("devices/d/x")

    def full(changes):
        raise StorageError("disk full")

    monkeypatch.setattr(store.file, "save", full)
    await store.keeper.turn()
    assert "can't be saved" in caplog.text
    monkeypatch.undo()
    await store.keeper.turn()
    assert [row.id for row in store.file.load()[0]] == ["d"]


async def test_a_file_that_cannot_be_read_is_a_state(tmp_path, caplog):
    store = Store(tmp_path / "missing" / "devices.sqlite")
    await store.keeper.restore()
    assert "can't be read" in caplog.text


async def test_who_is_silent_is_recorded_also_when_the_disk_was_full(store):
    store.registry.follow([Account("d", silent_after_seconds=60)])
    await store.turns(30)
    store.sink.full = True
    await store.turns(60)
    assert store.silent() == []
    store.sink.full = False
    await store.turns(60)
    assert store.silent() == ["d"]


async def test_while_the_broker_is_away_nobody_is_silent(store):
    store.registry.follow([Account("d", silent_after_seconds=60)])
    await store.turns(30)
    store.listening = False
    await store.turns(600)
    store.listening = True
    await store.turns(50)
    assert store.silent() == []
    await store.turns(30)
    assert store.silent() == ["d"]


async def test_an_edge_node_that_spoke_before_its_birth_is_asked_for_it(store, caplog):
    store.say("spBv1.0/g/NDATA/n", b"\x18\x07")
    store.away = True
    await store.turns(5)
    store.away = False
    await store.turns(50)
    assert store.published == []
    await store.turns(10)
    assert store.published == [("spBv1.0/g/NCMD/n", 0)]


async def test_it_ends_when_it_is_told_to(store):
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(store.keeper.run(stop))
        stop.set()
