"""Words of presence."""

import pytest

from agent.mqtt.registry.decoded import PLAIN, Decoded
from agent.mqtt.registry.presence import said
from agent.mqtt.topics import parse


def presence(topic, payload, decoded=PLAIN):
    where = parse(topic)
    assert where is not None
    return said(where, payload, decoded)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"online", {"lamp": True}),
        (b" OFFLINE\n", {"lamp": False}),
        (b'{"state":"online"}', {"lamp": True}),
        (b'{"state": "offline"}', {"lamp": False}),
        (b'{"state": 3}', {}),
        (b'{"state"', {}),
        (b"", {}),
        (b"\xff\xfe", {}),
        (b"online" + b" " * 100, {}),
    ],
)
def test_a_status_is_online_or_offline_or_json_of_it(payload, expected):
    assert presence("zigbee2mqtt/lamp/availability", payload) == expected


def test_on_another_topic_the_word_says_nothing():
    assert presence("devices/d/door", b"offline") == {}


def test_what_a_decoder_says_of_others_is_taken_over():
    assert presence("devices/d/x", b"", Decoded(present=(("e", False),))) == {"e": False}
