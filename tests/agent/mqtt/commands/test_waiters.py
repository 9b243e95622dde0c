"""All who wait for a command hear how it ended."""

import pytest

from agent.errors import AwayError, RefusedError
from agent.mqtt.commands.waiters import Waiters
from agent.orders import CommandState
from tests.fakes.command_parts import command
from tests.fakes.mqtt_parts import FakeTime

ANSWERED = command(state=CommandState.ANSWERED, ended_unix_nano=2, answer=b"a", answer_bytes=1)


@pytest.fixture
async def waiters():
    return Waiters(FakeTime().clock(), lambda _: True)


async def test_all_are_told_and_only_those_on_site_what_must_stay_there(waiters):
    here, far = waiters.add("c-1", local=True), waiters.add("c-1", local=False)
    waiters.tell(command())
    assert not here.answer.done()
    waiters.tell(ANSWERED)
    waiters.tell(ANSWERED)
    assert ((await here.answer).payload, (await far.answer).payload) == (b"a", b"")


async def test_who_has_left_is_told_nothing(waiters):
    one = waiters.add("c-1", local=True)
    waiters.leave("c-1", one)
    waiters.tell(ANSWERED)
    assert ("c-1" in waiters, one.answer.done()) == (False, False)


async def test_all_are_refused(waiters):
    one, two = waiters.add("c-1", local=True), waiters.add("c-2", local=True)
    waiters.refuse("c-1", lambda: AwayError("gone"))
    waiters.tell(command("c-2", state=CommandState.CANCELLED, ended_unix_nano=2))
    with pytest.raises(AwayError):
        await one.answer
    with pytest.raises(RefusedError):
        await two.answer
