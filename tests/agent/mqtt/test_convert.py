"""From a delivery to a message, or a named refusal."""



import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import DeviceMessage
from agent.mqtt.convert import Accepted, Refusal, Refused, convert
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.topics import RuleSet, compile_rules
from agent.spec import DeviceRule, Residency

PLAIN = Delivery("devices/d/temp", b"4.2", qos=1, retained=False, redelivered=False, packet_id=7)
NO_RULES = RuleSet()


def test_everything_mqtt_5_says_of_a_message_survives():
    full = PLAIN._replace(
        retained=True,
        redelivered=True,
        content_type="text/plain",
        user_properties=(("unit", "Cel"), ("unit", "again")),
        correlation_data=b"\0\xff",
    )
    rules = compile_rules((DeviceRule("devices/#", priority=8),))
    found = convert(full, rules)
    assert isinstance(found, Accepted)
    assert found.message == DeviceMessage(
        device="d",
        topic="devices/d/temp",
        payload=b"4.2",
        qos=1,
        retained=True,
        content_type="text/plain",
        user_properties=(("unit", "Cel"), ("unit", "again")),
        correlation_data=b"\0\xff",
        packet_id=7,
        redelivered=True,
        priority=8,
    )


@pytest.mark.parametrize(
    "rule", [DeviceRule("devices/+/temp", forward=False), DeviceRule("devices/#", residency=Residency.STORE)]
)
def test_what_a_rule_keeps_in_the_store_never_becomes_a_message(rule):
    found = convert(PLAIN, compile_rules((rule,)))
    assert isinstance(found, Accepted) and found.message is None and found.where.device == "d"


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
def test_what_does_not_fit_is_refused_by_name(change, why):
    found = convert(PLAIN._replace(**change), NO_RULES)
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
def test_what_just_fits_is_taken(change):
    assert isinstance(convert(PLAIN._replace(**change), NO_RULES), Accepted)


@given(st.text(max_size=80), st.binary(max_size=80))
def test_any_topic_and_payload_has_an_answer(topic, payload):
    found = convert(PLAIN._replace(topic=topic, payload=payload), NO_RULES)
    assert isinstance(found, Refused) or (found.message is not None and found.message.payload == payload)
