"""From a delivery to a message, or a named refusal."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import DeviceMessage, DeviceValue
from agent.mqtt.convert import Accepted, Now, Refusal, Refused, convert, idempotency_key
from agent.mqtt.rules.backlog import Backlog
from agent.mqtt.rules.judge import Hold, Why
from agent.mqtt.rules.rules import Rules
from agent.mqtt.wire.delivery import Delivery
from agent.spec import DeviceRule, Residency

PLAIN = Delivery("devices/d/temp", b"4.2", qos=1, retained=False, redelivered=False, packet_id=7)
NOW = Now(100.0, 5_000_000_000)
VALUES = (DeviceValue("t", 4.2, "Cel"),)


def ruled(*rules: DeviceRule) -> Rules:
    found = Rules(Backlog())
    found.set_central(rules)
    return found


def accepted(delivery: Delivery, rules: Rules, values: tuple[DeviceValue, ...] | None = ()) -> Accepted:
    found = convert(delivery, rules, NOW, values)
    assert isinstance(found, Accepted)
    return found


def test_everything_mqtt_5_says_of_a_message_survives():
    full = PLAIN._replace(
        retained=True,
        redelivered=True,
        content_type="text/plain",
        user_properties=(("unit", "Cel"), ("unit", "again"), ("idempotency-key", "mine")),
        correlation_data=b"\0\xff",
        expiry_seconds=7,
    )
    assert accepted(full, ruled(DeviceRule("devices/#", priority=8)), VALUES).message == DeviceMessage(
        device="d",
        topic="devices/d/temp",
        payload=b"4.2",
        qos=1,
        retained=True,
        content_type="text/plain",
        user_properties=(("unit", "Cel"), ("unit", "again"), ("idempotency-key", "mine")),
        correlation_data=b"\0\xff",
        packet_id=7,
        redelivered=True,
        idempotency_key="mine",
        values=VALUES,
        priority=8,
        expires_unix_nano=12_000_000_000,
    )


def test_a_clock_that_is_far_ahead_makes_no_end_that_the_spool_cant_hold():
    found = convert(PLAIN._replace(expiry_seconds=0xFFFFFFFF), ruled(), Now(100.0, 6_000_000_000_000_000_000))
    assert isinstance(found, Accepted) and found.message is not None
    assert found.message.expires_unix_nano == 2**63 - 1


def test_without_a_rule_a_message_goes_at_once_with_priority_5_and_never_expires():
    found = accepted(PLAIN, ruled())
    assert found.message is not None and found.hold is None and found.shown
    assert (found.message.priority, found.message.expires_unix_nano) == (5, 0)


@pytest.mark.parametrize(
    "rule", [DeviceRule("devices/+/temp", forward=False), DeviceRule("devices/#", residency=Residency.STORE)]
)
def test_what_a_rule_keeps_in_the_store_never_becomes_a_message_and_is_not_shown(rule):
    for values in ((), VALUES, None):
        found = accepted(PLAIN, ruled(rule), values)
        assert found.message is None and not found.shown and found.where.device == "d"


def test_what_is_thinned_out_says_why_and_may_be_shown():
    rules = ruled(DeviceRule("devices/#", sample_every=2))
    assert accepted(PLAIN, rules).message is not None
    assert accepted(PLAIN, rules) == Accepted(accepted(PLAIN, rules).where, None, None, True, Why.SAMPLED)


def test_what_is_redacted_takes_its_decoded_values_with_it_and_is_not_shown():
    found = accepted(
        PLAIN._replace(payload=b'{"t": 1, "who": "x"}'), ruled(DeviceRule("#", redact=("who",))), VALUES
    )  # fmt: skip
    assert found.message is not None and not found.shown
    assert (found.message.payload, found.message.values) == (b'{"t":1}', ())


@pytest.mark.parametrize(
    ("rules", "goes"),
    [
        ((), False),
        ((DeviceRule("devices/#"),), False),
        ((DeviceRule("devices/#", undecoded=True),), True),
        ((DeviceRule("devices/#", undecoded=True, sample_every=1),), True),
        ((DeviceRule("devices/#", batch_seconds=9),), False),
    ],
)
def test_what_can_not_be_decoded_goes_only_where_a_rule_says_so(rules, goes):
    found = accepted(PLAIN, ruled(*rules), None)
    assert (found.message is not None) is goes
    assert found.why is (None if goes else Why.UNDECODED)


def test_what_is_refused_for_its_decoding_does_not_make_others_wait():
    rules = ruled(DeviceRule("devices/#", batch_seconds=9))
    accepted(PLAIN, rules, None)
    assert PLAIN.topic not in rules.waiting


def test_a_held_message_makes_the_next_of_its_topic_wait_behind_it():
    rules = ruled(DeviceRule("devices/#", batch_seconds=9))
    assert accepted(PLAIN, rules).hold == Hold(109.0)
    rules.set_central(())
    assert accepted(PLAIN, rules).hold == Hold(0.0)
    assert accepted(PLAIN._replace(topic="devices/d/other"), rules).hold is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"topic": ""}, Refusal.TOPIC),
        ({"topic": "devices/d"}, Refusal.TOPIC),
        ({"payload": bytes(128 * 1024 + 1)}, Refusal.PAYLOAD),
        ({"content_type": "é" * 65}, Refusal.CONTENT_TYPE),
        ({"user_properties": (("k", "v"),) * 17}, Refusal.USER_PROPERTIES),
        ({"user_properties": (("k" * 129, "v"),)}, Refusal.USER_PROPERTIES),
        ({"user_properties": (("k", "v" * 513),)}, Refusal.USER_PROPERTIES),
        ({"correlation_data": bytes(65)}, Refusal.CORRELATION),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, Any], why: Refusal):
    found = convert(PLAIN._replace(**change), ruled(), NOW)
    assert found == Refused(why, "" if why is Refusal.TOPIC else "d")


@pytest.mark.parametrize(
    "change",
    [
        {"payload": bytes(128 * 1024)},
        {"payload": b""},
        {"content_type": "é" * 64},
        {"user_properties": (("k" * 128, "v" * 512),) * 16},
        {"correlation_data": bytes(64)},
    ],
)
def test_what_just_fits_is_taken(change: dict[str, Any]):
    assert isinstance(convert(PLAIN._replace(**change), ruled(), NOW), Accepted)


@given(st.text(max_size=80), st.binary(max_size=80))
def test_any_topic_and_payload_has_an_answer(topic: str, payload: bytes):
    found = convert(PLAIN._replace(topic=topic, payload=payload), ruled(), NOW)
    assert isinstance(found, Refused) or (found.message is not None and found.message.payload == payload)


@pytest.mark.parametrize(
    ("properties", "key"),
    [
        ({}, ""),
        ({"idempotency-key": "k"}, "k"),
        ({"id": "7", "source": "/fridge"}, ""),  # no CloudEvent: any device may call a property "id"
        ({"specversion": "1.0", "id": "7", "source": "/fridge"}, "/fridge 7"),
        ({"specversion": "1.0", "id": "7"}, ""),
        ({"specversion": "1.0", "id": "7", "source": "/fridge", "idempotency-key": "k"}, "k"),
        ({"idempotency-key": "é" * 64}, "é" * 64),
        ({"idempotency-key": "é" * 65}, f"sha256:{hashlib.sha256(('é' * 65).encode()).hexdigest()}"),
    ],
)
def test_a_message_is_called_what_its_device_calls_it(properties: dict[str, str], key: str):
    assert idempotency_key(tuple(properties.items())) == key


def test_of_a_key_that_comes_twice_the_first_counts():
    assert idempotency_key((("idempotency-key", "a"), ("idempotency-key", "b"))) == "a"
