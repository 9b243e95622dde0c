"""From what is held to the spool."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from agent.clock import Clock
from agent.errors import StorageError
from agent.model import Body, DeviceMessage
from agent.mqtt.convert import Accepted, Now, convert
from agent.mqtt.rules.backlog import Backlog
from agent.mqtt.rules.held import Held
from agent.mqtt.rules.releaser import Releaser
from agent.mqtt.rules.rules import Rules
from agent.mqtt.wire.delivery import Delivery
from agent.spec import DeviceRule, Residency

LATEST, BATCH = DeviceRule("devices/+/latest", latest_seconds=10), DeviceRule("devices/+/batch", batch_seconds=60)


class Store:
    """A backlog, rules, held.db and a spool that can be full; its time is `now`."""

    def __init__(self, path: Path) -> None:
        self.now, self.full = 100.0, False
        self.recorded: list[DeviceMessage] = []
        self.grown = asyncio.Event()
        clock = Clock("boot", lambda: int(self.now * 1e9), lambda: int(self.now * 1e9))
        backlog = Backlog()
        self.held = Held(path, backlog, clock, lambda: "e")
        self.rules = Rules(backlog, self.held.hurry)
        self.rules.set_central([LATEST, BATCH])
        self.releaser = Releaser(self.held, self.rules, self.record, clock, lambda: 0.01)

    async def record(self, bodies: Sequence[Body]) -> None:
        if self.full:
            raise StorageError("full")
        self.recorded += [body for body in bodies if isinstance(body, DeviceMessage)]
        self.grown.set()

    async def comes(self, topic: str, payload: str) -> None:
        """As the bridge does it: recorded at once, or held."""
        found = convert(Delivery(topic, payload.encode(), 1, False, False, 1), self.rules, Now(self.now, 1))
        assert isinstance(found, Accepted) and found.message is not None
        if found.hold is None:
            await self.record([found.message])
        else:
            await self.held.put([(found.message, found.hold)])

    async def release(self) -> list[str]:
        before = len(self.recorded)
        while await self.releaser.release():
            pass
        return [each.payload.decode() for each in self.recorded[before:]]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(tmp_path / "held.db")
    yield made
    await made.held.close()


async def test_of_each_window_the_newest_goes_when_it_ends(store):
    for at, payload in ((100.0, "1"), (104.0, "2"), (109.0, "3")):
        store.now = at
        await store.comes("devices/d/latest", payload)
        assert await store.release() == []
    store.now = 110.0
    assert await store.release() == ["3"]
    await store.comes("devices/d/latest", "4")
    store.now = 120.0
    assert await store.release() == ["4"]


async def test_a_batch_goes_together_in_order(store):
    for at, device in enumerate("abab"):
        store.now = 100.0 + at
        await store.comes(f"devices/{device}/batch", str(at))
    store.now = 159.9
    assert await store.release() == []
    store.now = 160.0
    assert await store.release() == ["0", "1", "2", "3"]
    assert [each.stamp.time_unix_nano // 10**9 for each in store.recorded if each.stamp] == [100, 101, 102, 103]


async def test_when_the_hold_is_taken_away_the_held_ones_go_first_and_newer_ones_wait_behind_them(store):
    await store.comes("devices/d/batch", "1")
    store.rules.set_central([])
    await store.comes("devices/d/batch", "2")
    await store.comes("devices/d/other", "at once")
    assert [each.payload for each in store.recorded] == [b"at once"]
    assert await store.release() == ["1", "2"]
    await store.comes("devices/d/batch", "3")
    assert store.recorded[-1].payload == b"3"


async def test_what_the_rules_of_now_keep_in_the_store_does_not_leave_because_it_was_held(store):
    await store.comes("devices/d/batch", "secret")
    await store.comes("devices/e/batch", '{"who": "x", "t": 1}')
    await store.comes("devices/f/batch", "plain")
    store.rules.set_operator(
        [DeviceRule("devices/d/#", residency=Residency.STORE), DeviceRule("devices/e/#", redact=("who",))]
    )
    assert await store.release() == ['{"t":1}', "plain"]
    assert await store.held.due(1e9) == []


async def test_a_kill_between_recording_and_forgetting_repeats_a_message_under_the_same_key(store, tmp_path):
    await store.comes("devices/d/batch", "1")
    store.now = 160.0
    forget, store.held.forget = store.held.forget, lambda ids: asyncio.sleep(0)  # killed before
    await store.releaser.release()
    store.held.forget = forget
    await store.held.close()
    after = Store(tmp_path / "held.db")
    await after.held.restore()
    assert await after.release() == ["1"]
    assert after.recorded[0].idempotency_key == store.recorded[0].idempotency_key == "held-e-1"
    await after.held.close()


async def test_a_full_spool_keeps_them_held_and_they_go_when_there_is_room(store):
    await store.comes("devices/d/batch", "1")
    store.now, store.full = 160.0, True
    with pytest.raises(StorageError):
        await store.releaser.release()
    running = asyncio.create_task(store.releaser.run())
    await asyncio.sleep(0)
    store.full = False
    await store.grown.wait()
    assert [each.payload for each in store.recorded] == [b"1"]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_what_is_recorded_and_cant_be_forgotten_is_recorded_once(store):
    await store.comes("devices/d/batch", "1")
    store.now = 160.0
    forget = store.held.forget

    async def full(ids: Sequence[int]) -> None:
        raise StorageError("full")

    store.held.forget = full
    for _ in range(3):
        with pytest.raises(StorageError):
            await store.releaser.release()
    store.held.forget = forget
    assert await store.release() == []
    assert [each.payload for each in store.recorded] == [b"1"] and await store.held.due(1e9) == []


async def test_it_sleeps_until_something_is_due_and_wakes_for_what_comes(store):
    running = asyncio.create_task(store.releaser.run())
    store.rules.set_central([DeviceRule("devices/#", batch_seconds=1)])
    await store.comes("devices/d/x", "1")
    store.now = 101.0
    store.held.changed.set()
    await store.grown.wait()
    assert [each.payload for each in store.recorded] == [b"1"]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
