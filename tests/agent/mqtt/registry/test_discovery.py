"""Configs of Home Assistant's discovery."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.registry.decoded import Malformed
from agent.mqtt.registry.discovery import parse
from agent.mqtt.registry.readings import Reading, Sort

SENSOR = "homeassistant/sensor/d/temp/config"


def announced(config, topic=SENSOR):
    found = parse(topic, json.dumps(config).encode())
    assert not isinstance(found, Malformed)
    return found


def one(config, topic=SENSOR):
    (found,) = announced(config, topic)
    return found


def test_long_and_short_keys_say_the_same():
    long = {
        "state_topic": "devices/d/x",
        "unit_of_measurement": "W",
        "value_template": "{{ value_json.p }}",
        "payload_on": "1",
        "payload_off": "0",
    }
    short = {"stat_t": "devices/d/x", "unit_of_meas": "W", "val_tpl": "{{ value_json.p }}", "pl_on": "1", "pl_off": "0"}
    assert one(long) == one(short) == Reading("devices/d/x", "p", "W", Sort.NUMBER, ("p",), "1", "0")


def test_a_base_stands_at_the_start_or_at_the_end():
    assert one({"~": "devices/d", "stat_t": "~/x"}).topic == "devices/d/x"
    assert one({"~": "/x", "stat_t": "devices/d~"}).topic == "devices/d/x"


def test_a_reading_is_called_as_in_the_payload_or_by_its_config_or_its_topic():
    assert one({"stat_t": "t", "name": "Temp", "val_tpl": "{{ value_json.a.b }}"}).name == "a.b"
    assert one({"stat_t": "t", "name": "Temp"}).name == "Temp"
    assert one({"stat_t": "t", "name": None}).name == "temp"
    assert one({"stat_t": "t"}, "homeassistant/sensor/door/config").name == "door"


@pytest.mark.parametrize(
    ("component", "sort"),
    [
        ("sensor", Sort.NUMBER_OR_TEXT),
        ("binary_sensor", Sort.FLAG),
        ("switch", Sort.FLAG),
        ("number", Sort.NUMBER),
        ("select", Sort.TEXT),
        ("text", Sort.TEXT),
    ],
)
def test_what_it_becomes_is_what_the_component_says(component, sort):
    assert one({"stat_t": "t"}, f"homeassistant/{component}/d/x/config").sort is sort


def test_a_sensor_with_a_unit_is_a_number():
    assert one({"stat_t": "t", "unit_of_meas": "W"}).sort is Sort.NUMBER


def test_a_switch_says_in_its_own_words_what_it_is():
    topic = "homeassistant/switch/d/x/config"
    assert one({"stat_t": "t", "pl_on": "turn_on", "stat_on": "is_on"}, topic).on == "is_on"
    assert one({"stat_t": "t", "pl_on": "turn_on"}, topic).on == "turn_on"


def test_components_of_a_device_have_its_topic_or_their_own():
    found = announced(
        {
            "~": "devices/d",
            "stat_t": "~/state",
            "cmps": {
                "a": {"p": "sensor", "val_tpl": "{{ value_json.a }}", "unit_of_meas": "W"},
                "b": {"platform": "binary_sensor", "state_topic": "~/b"},
                "c": {"p": "light"},
                "d": "no object",
            },
        },
        "homeassistant/device/d/config",
    )
    assert [(each.topic, each.name, each.unit) for each in found] == [
        ("devices/d/state", "a", "W"),
        ("devices/d/b", "b", ""),
    ]


def test_an_empty_payload_withdraws():
    assert parse(SENSOR, b"") == () and parse(SENSOR, b" ") == ()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"stat_t": 5},
        {"stat_t": ""},
        {"stat_t": "t" * 600},
        {"stat_t": "t", "~": 5},
        {"stat_t": "t", "val_tpl": "{{ value_json.a * 2 }}"},
        {"stat_t": "t", "val_tpl": ["x"]},
        {"stat_t": "t", "name": "n" * 200},
        {"stat_t": "\ud800"},
    ],
)
def test_what_cannot_be_read_announces_nothing(config):
    assert announced(config) == ()


def test_what_is_no_config_is_malformed_and_not_quoted():
    for payload in (b"\xff", b"secret", b"[1]", b"{", b"[" * 30_000, b'{"a":' + b" " * 40_000 + b"1}"):
        found = parse(SENSOR, payload)
        assert isinstance(found, Malformed) and "secret" not in found.why


def test_a_component_that_is_none_of_ours_announces_nothing():
    assert announced({"stat_t": "t"}, "homeassistant/climate/d/x/config") == ()
    assert announced({"stat_t": "t"}, "homeassistant/device/d/config") == ()
    assert parse("homeassistant/config", b"{}") == ()


def test_a_device_announces_at_most_64():
    components = {str(number): {"p": "sensor", "stat_t": "t"} for number in range(100)}
    assert len(announced({"cmps": components}, "homeassistant/device/d/config")) == 64


KEYS = st.sampled_from(["stat_t", "~", "val_tpl", "name", "unit_of_meas", "pl_on", "cmps", "p", "x"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    LEAVES | st.sampled_from(["{{ value_json.a }}", "sensor"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from([SENSOR, "homeassistant/device/d/config"]), VALUES)
def test_no_config_raises(topic, document):
    found = parse(topic, json.dumps(document).encode())
    if not isinstance(found, Malformed):
        assert all(isinstance(each.name, str) and each.topic for each in found)


@given(st.binary(max_size=200))
def test_no_bytes_raise(payload):
    parse(SENSOR, payload)
