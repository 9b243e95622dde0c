"""Lists of devices at the broker: as wanted, whatever was there and whatever happens in between."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from agent.errors import AwayError
from agent.mqtt.lists import Lists
from agent.mqtt.wire.delivery import Delivery


class Broker:
    """What it retains; each change comes back to the subscriber, as MQTT has it."""

    def __init__(self, **kept: bytes) -> None:
        self.kept = dict(kept)
        self.said: list[tuple[str, bytes]] = []
        self.away = False
        self.wanted: Mapping[str, bytes] | None = {}
        self.lists = Lists(self.publish, lambda: self.wanted)

    async def publish(self, topic: str, payload: bytes) -> None:
        if self.away:
            raise AwayError("the broker is away")
        self.said.append((topic, payload))
        self.kept[topic] = payload
        self.kept = {name: content for name, content in self.kept.items() if content}
        self.lists.receive(Delivery(topic, payload, 1, False, False, 1))

    async def connects(self) -> None:
        await self.lists.connected()
        for topic, payload in self.kept.items():
            self.lists.receive(Delivery(topic, payload, 1, True, False, 1))

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.lists.run())
        await self.connects()
        await settled()
        yield
        task.cancel()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_is_wanted_is_there_and_what_is_not_is_taken_away() -> None:
    broker = Broker(old=b"of a job that ended while no agent was there", same=b"1")
    broker.wanted = {"new": b"1", "same": b"1"}
    async with broker.served():
        assert broker.kept == {"new": b"1", "same": b"1"}
        broker.wanted = {"new": b"2"}
        broker.lists.changed()
        await settled()
        assert broker.kept == {"new": b"2"}
        said = len(broker.said)
        broker.lists.changed()
        await settled()
        assert len(broker.said) == said


async def test_before_runs_are_known_nothing_is_touched() -> None:
    broker = Broker(old=b"1")
    broker.wanted = None
    async with broker.served():
        assert broker.said == []


async def test_a_broker_that_lost_everything_is_told_everything_again() -> None:
    broker = Broker()
    broker.wanted = {"a": b"1"}
    async with broker.served():
        broker.kept = {}
        await broker.connects()
        await settled()
        assert broker.kept == {"a": b"1"}


async def test_what_a_broker_that_was_away_has_missed_it_is_told_when_it_is_back() -> None:
    broker = Broker()
    async with broker.served():
        broker.away, broker.wanted = True, {"a": b"1"}
        broker.lists.changed()
        await settled()
        broker.away = False
        await broker.connects()
        await settled()
        assert broker.kept == {"a": b"1"}
