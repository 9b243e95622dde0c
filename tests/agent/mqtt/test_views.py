"""Between jobs and the broker: told as a whole, waited for a moment, never in the way."""

import asyncio

import pytest

from agent.mqtt import views as module
from agent.mqtt.views import Views
from agent.spec import MqttGrant, MqttView
from tests.fakes.jobs import batch

SPEC = batch(mqtt=(MqttGrant("d", channel="t"),))
VIEW = MqttView("b.1.1", "acme", "b", SPEC.mqtt)


def test_nothing_is_known_before_it_was_told() -> None:
    calls: list[int] = []
    views = Views(b"s" * 32, lambda: calls.append(1))
    assert views.now is None
    views.tell(frozenset({VIEW}))
    assert views.now == {VIEW} and calls == [1]


async def test_a_run_logs_in_by_its_name_and_always_with_the_same_password() -> None:
    one = await Views(b"s" * 32).secrets("b.1.1", SPEC)
    assert one["mqtt_username"] == b"job:b.1.1" and len(one["mqtt_password"]) == 43
    assert await Views(b"s" * 32).secrets("b.1.1", SPEC) == one
    others = [
        await Views(b"s" * 32).secrets("b.1.2", SPEC),
        await Views(b"t" * 32).secrets("b.1.1", SPEC),
        await Views(b"s" * 32).secrets("b.1.1", batch(tenant="bolt", mqtt=SPEC.mqtt)),
    ]
    assert len({each["mqtt_password"] for each in (one, *others)}) == 4


async def test_a_start_waits_until_its_grants_are_in_force() -> None:
    views = Views(b"s" * 32)
    await views.in_force(frozenset())
    views.tell(frozenset({VIEW}))
    waiting = asyncio.ensure_future(views.secrets("b.1.1", SPEC))
    await asyncio.sleep(0)
    await views.in_force(frozenset())  # those of before
    assert not waiting.done()
    await views.in_force(frozenset({VIEW}))
    assert (await waiting)["mqtt_username"] == b"job:b.1.1"


async def test_a_sandbox_made_ahead_is_given_its_login_without_grants_in_force() -> None:
    views = Views(b"s" * 32)
    await views.in_force(frozenset())
    assert await views.secrets("b.2.1", SPEC)


@pytest.mark.parametrize("there", [None, frozenset()])
async def test_a_start_waits_only_so_long(there, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a broker that is away, and for one that is busy."""
    monkeypatch.setattr(module, "_IN_FORCE_SECONDS", 0.01)
    views = Views(b"s" * 32)
    await views.in_force(frozenset({VIEW}))
    await views.in_force(there)
    views.tell(frozenset({VIEW}))
    assert await views.secrets("b.1.1", SPEC)
