"""Held messages as the loop sees them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.clock import Clock
from agent.errors import StorageError
from agent.model import DeviceMessage
from agent.mqtt.rules.backlog import Backlog
from agent.mqtt.rules.held import Held
from agent.mqtt.rules.judge import Hold

CLOCK = Clock("boot", lambda: 11, lambda: 22)


def message(topic: str, payload: bytes = b"x") -> DeviceMessage:
    return DeviceMessage("d", topic, payload)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., tuple[Held, Backlog]]]:
    made: list[Held] = []

    def held(limit_bytes: int = 1 << 20) -> tuple[Held, Backlog]:
        backlog = Backlog()
        made.append(Held(tmp_path / "held.db", backlog, CLOCK, lambda: "e", limit_bytes))
        return made[-1], backlog

    yield held
    for each in made:
        await each.close()


async def put(held: Held, backlog: Backlog, *messages: tuple[DeviceMessage, Hold]) -> None:
    for each, _ in messages:
        backlog.expect(each.topic)
    await held.put(messages)


async def test_nothing_held_is_no_file_and_no_thread(make, tmp_path):
    held, _ = make()
    await held.restore()
    await held.put([])
    held.hurry()
    assert await held.due(1.0) == []
    assert list(tmp_path.iterdir()) == [] and held._thread is None and not held.changed.is_set()


async def test_what_is_put_is_due_when_its_time_comes_and_gone_when_it_is_forgotten(make):
    held, backlog = make()
    await put(held, backlog, (message("a"), Hold(5.0)))
    assert held.changed.is_set() and held.next_due_seconds == 5.0
    assert await held.due(4.0) == []
    ((row, found),) = await held.due(5.0)
    assert found.topic == "a" and found.stamp == CLOCK.stamp()
    await held.forget([row])
    assert held.next_due_seconds is None and backlog.topics == {}


async def test_the_account_follows_what_takes_the_place_of_another(make):
    held, backlog = make()
    for payload in (b"1", b"2", b"3"):
        await put(held, backlog, (message("a", payload), Hold(5.0, latest=True)))
    assert backlog.topics == {"a": 1}
    ((row, found),) = await held.due(5.0)
    assert found.payload == b"3"
    await held.forget([row])
    assert backlog.topics == {}


async def test_a_restart_knows_what_waits(make):
    held, backlog = make()
    await put(held, backlog, (message("a"), Hold(1e9)), (message("a"), Hold(1e9)))
    await held.close()
    again, backlog = make()
    await again.restore()
    assert backlog.topics == {"a": 2} and again.next_due_seconds == 0.0
    assert len(await again.due(0.0)) == 2


async def test_in_a_hurry_everything_is_due_until_nothing_is_left(make):
    held, backlog = make()
    await put(held, backlog, (message("a"), Hold(1e9)))
    held.hurry()
    ((row, _),) = await held.due(0.0)
    await held.forget([row])
    assert await held.due(0.0) == []
    await put(held, backlog, (message("a"), Hold(1e9)))
    assert await held.due(0.0) == []


async def test_too_much_is_released_early_and_far_too_much_is_refused(make):
    held, backlog = make(limit_bytes=3000)
    await put(held, backlog, (message("a", bytes(2000)), Hold(1e9)))
    assert await held.due(0.0) == []
    await put(held, backlog, (message("b", bytes(5000)), Hold(1e9)))
    assert len(await held.due(0.0)) == 2
    with pytest.raises(StorageError, match="can't be released"):
        await put(held, backlog, (message("c"), Hold(1e9)))
    await held.forget([1, 2])
    await held.put([(message("c"), Hold(1e9))])  # counted before it was refused
    assert backlog.topics == {"c": 1}


async def test_a_file_that_makes_no_sense_is_set_aside(make, tmp_path):
    (tmp_path / "held.db").write_bytes(b"no database" * 100)
    held, backlog = make()
    await held.restore()
    await put(held, backlog, (message("a"), Hold(0.0)))
    assert (tmp_path / "held.corrupt").exists() and len(await held.due(0.0)) == 1


async def test_a_hurry_while_somebody_looks_is_not_lost(make):
    held, backlog = make()
    await put(held, backlog, (message("a"), Hold(1e9)))
    looking = asyncio.create_task(held.due(0.0))
    await asyncio.sleep(0)
    held.hurry()
    assert await looking == []
    assert len(await held.due(0.0)) == 1
