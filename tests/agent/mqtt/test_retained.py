"""What makes the agent look at what the broker has retained. How it looks: integration/test_retained_real.py."""

import asyncio
from collections.abc import Sequence

import pytest

from agent.model import Body, Credential
from agent.mqtt.access.accounts import Account
from agent.mqtt.control import Control
from agent.mqtt.retained import COUNT, STORED, Retained
from agent.mqtt.wire.delivery import Delivery


class Looked(Exception):  # noqa: N818  no error: the connection that a look begins with
    pass


def new() -> Control:
    raise Looked


async def record(_: Sequence[Body]) -> None:
    raise AssertionError


async def began(retained: Retained) -> bool:
    """Whether a look is begun by now."""
    try:
        async with asyncio.timeout(0.05):
            await retained.wait()
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    ("topic", "payload", "looks"),
    [
        (COUNT, b"60000", False),
        (COUNT, b"60001", True),
        (STORED, b"100000000", False),
        (STORED, b"100700000", True),
        (STORED, b"many", False),
    ],
)
async def test_a_number_that_is_too_high_has_it_look(topic: str, payload: bytes, looks: bool) -> None:
    retained = Retained(new, dict, lambda: None, lambda _: None, record)
    retained.number(Delivery(topic, payload, 0, False, False, 0))
    assert await began(retained) is looks


async def test_an_account_that_goes_has_it_look_and_one_that_comes_does_not() -> None:
    accounts = {"fridge": Account("fridge", credential=Credential.PASSWORD)}
    retained = Retained(new, lambda: accounts, lambda: None, lambda _: None, record)
    retained.changed()
    accounts["door"] = Account("door", credential=Credential.PASSWORD)
    retained.changed()
    assert not await began(retained)
    del accounts["fridge"]
    retained.changed()
    assert await began(retained)
