"""A broker's welcome, its refusals and its goodbye, over a connection; and what a session answers without one."""

import pytest

from agent.errors import AwayError
from agent.mqtt.wire import codec
from agent.mqtt.wire.session import KEEPALIVE_SECONDS, Session
from tests.agent.mqtt.wire.test_intake import NEW, PRESENT, Broker, lost
from tests.fakes.mqtt_packets import packet, publish


@pytest.mark.parametrize(("connack", "times"), [(PRESENT, 0), (NEW, 1)])
async def test_a_session_that_the_broker_does_not_know_is_told_before_its_messages(connack, times):
    broker = Broker(connack + publish("a/b", b"first"))
    async with broker.talk():
        assert broker.sessions_lost == times
        assert [each.payload for each in broker.delivered] == [b"first"]
    broker.sock.close()


@pytest.mark.parametrize(
    ("connack", "suback", "why"),
    [
        (packet(0x20, b"\0\x87\0"), b"", "not authorized"),
        (packet(0x20, b"\0\xf0\0"), b"", "reason 0xf0"),
        (PRESENT, packet(0x90, b"\0\1\0\2\x87"), "b/#: not authorized"),
        (PRESENT, packet(0x90, b"\0\1\0\2"), "number of filters"),
        (b"\0\0", b"", "not MQTT 5"),
    ],
)
async def test_a_broker_that_refuses_is_quoted(connack, suback, why):
    broker = Broker(connack, suback)
    with pytest.raises(AwayError, match=why):
        async with broker.talk():
            raise AssertionError("it was let in")
    broker.sock.close()


async def test_a_broker_that_sends_us_away_is_quoted():
    broker = Broker()
    async with broker.talk() as (intake, sock):
        sock.sendall(publish("a/b", b"last") + b"\xe0\1\x8e")
        sock.close()
        assert "session taken over" in await lost(intake)
        assert [each.payload for each in broker.delivered] == [b"last"]
    broker.sock.close()


async def test_only_the_first_connack_welcomes_and_is_answered_with_the_subscription():
    session = Session(("a/#", "b/#"), adopted=False)
    assert session.answer(codec.Connack(False, 0, 7)) == codec.subscribe(1, ("a/#", "b/#"))
    assert (session.is_new, session.keepalive_seconds) == (True, 7)
    assert session.answer(codec.Connack(True, 0x87, None)) == b""
    assert (session.is_new, session.keepalive_seconds, session.parting) == (True, 7, "")


async def test_an_adopted_session_is_welcome_already_and_no_new_one():
    session = Session(("a/#",), adopted=True)
    assert session.answer(codec.Connack(False, 0, 7)) == b""
    assert (session.welcomed.done(), session.is_new, session.keepalive_seconds) == (True, False, KEEPALIVE_SECONDS)
    session.answer(codec.Suback(1, (1,)))
    assert session.subscribed.done()


async def test_a_release_is_completed_and_a_pong_is_not_answered():
    session = Session(("a/#",), adopted=True)
    assert session.answer(codec.Pubrel(258)) == b"\x70\2\1\2"
    assert session.answer(codec.Pingresp()) == b""
