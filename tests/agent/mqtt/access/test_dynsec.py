"""What keeps the broker as it is to be, with a plugin that is none in place of the broker's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from agent.errors import AwayError
from agent.model import Credential
from agent.mqtt.access import dynsec
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.dynsec import RESPONSES, Dynsec
from agent.mqtt.access.policy import Access
from agent.mqtt.wire.delivery import Delivery
from tests.fakes.plugin import FakePlugin

SECRET = b"s" * 32


def accounts(count: int) -> dict[str, Account]:
    each = (Account(f"d{n:03}", credential=Credential.PASSWORD, password_generation=1) for n in range(count))
    return {account.id: account for account in each}


class Box:
    def __init__(self, count: int) -> None:
        self.plugin = FakePlugin()
        self.accounts = accounts(count)
        self.in_force: list[Access | None] = []
        self.dynsec = Dynsec(self.plugin.publish, lambda: not self.plugin.away, self._wanted, self._in_force)
        self.plugin.receive = self.dynsec.receive

    def _wanted(self) -> Access:
        return Access(SECRET, self.accounts, {}, frozenset())

    async def _in_force(self, access: Access | None) -> None:
        self.in_force.append(access)

    def put(self, account: Account) -> None:
        self.accounts = {**self.accounts, account.id: account}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.dynsec.run())
        yield
        task.cancel()
        await asyncio.wait([task])


async def test_an_empty_broker_is_filled_and_then_left_as_it_is() -> None:
    box = Box(250)
    async with box.running():
        await box.dynsec.apply()
        assert len(box.plugin.clients) == len(box.plugin.roles) == 255
        box.plugin.asked.clear()
        await box.dynsec.connected()
        await box.dynsec.apply()
    assert set(box.plugin.asked) == {
        "getDefaultACLAccess", "getAnonymousGroup", "listGroups", "listClients", "listRoles",
    }  # fmt: skip
    assert box.plugin.largest_bytes < 256 * 1024


async def test_a_change_touches_its_own_device_and_lists_nothing() -> None:
    box = Box(250)
    async with box.running():
        await box.dynsec.apply()
        box.plugin.asked.clear()
        box.put(replace(box.accounts["d007"], password_generation=2))
        await box.dynsec.apply()
        assert box.plugin.asked == ["getClient", "getRole", "deleteClient", "createClient"]
        box.plugin.asked.clear()
        del box.accounts["d008"]
        box.accounts = dict(box.accounts)
        await box.dynsec.apply()
    assert box.plugin.asked == ["getClient", "getRole", "deleteClient", "deleteRole"]
    assert "d008" not in box.plugin.clients


async def test_strangers_and_drift_are_gone_after_a_look() -> None:
    box = Box(3)
    async with box.running():
        await box.dynsec.apply()
        box.plugin.clients["guest"] = {"username": "guest", "roles": [{"rolename": "all"}]}
        box.plugin.roles["all"] = {"rolename": "all", "acls": []}
        box.plugin.roles["d001"]["acls"] = []
        box.plugin.clients["d002"]["disabled"] = True
        await box.dynsec.connected()
        await box.dynsec.apply()
    assert set(box.plugin.clients) == set(box.plugin.roles) == set(box._wanted().names())
    assert box.plugin.roles["d001"]["acls"] and "disabled" not in box.plugin.clients["d002"]


async def test_who_waits_is_told_that_the_broker_is_away_and_it_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    box = Box(1)
    box.plugin.away = True
    async with box.running():
        with pytest.raises(AwayError):
            await box.dynsec.apply()
        assert box.in_force[-1] is None
        box.plugin.away = False
        await box.dynsec.connected()
        await box.dynsec.apply()
    assert box.in_force[-1] is not None and "d000" in box.plugin.clients
    assert "tried again" not in caplog.text  # that the connection is lost is said by who has it


async def test_a_refusal_is_said_once_and_everything_is_looked_at_again(caplog: pytest.LogCaptureFixture) -> None:
    box = Box(1)
    box.plugin.refuses = "createClient"
    async with box.running():
        for _ in range(2):
            with pytest.raises(AwayError, match="refuses createClient"):
                await box.dynsec.apply()
        box.plugin.refuses = ""
        await box.dynsec.apply()
    assert caplog.text.count("tried again") == 1
    assert set(box.plugin.clients) == set(box._wanted().names())


async def test_a_broker_that_does_not_answer_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynsec, "_ANSWER_SECONDS", 0.01)
    box = Box(1)
    box.plugin.mute = True
    async with box.running():
        with pytest.raises(AwayError, match="no answer to getDefaultACLAccess"):
            await box.dynsec.apply()


async def test_an_order_does_not_wait_for_a_broker_that_is_busy_with_thousands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynsec, "_APPLY_SECONDS", 0.01)
    box = Box(1)
    box.plugin.mute = True
    async with box.running():
        with pytest.raises(AwayError, match="not brought up to date"):
            await box.dynsec.apply()


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"responses": {}}', b'{"responses": [1]}', b"\xff", b"{}"])
async def test_an_answer_that_makes_no_sense_is_none(payload: bytes) -> None:
    Box(0).dynsec.receive(Delivery(RESPONSES, payload, 1, False, False, 1))
