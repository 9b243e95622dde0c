"""What real devices say, message by message: named, typed, with units."""

import pytest

from agent.mqtt.registry.decoded import PLAIN
from agent.mqtt.registry.decoders import Decoders
from agent.mqtt.topics import parse
from agent.mqtt.wire.delivery import Delivery
from tests.fixtures.captures import Capture, captures


def decode(decoders, capture):
    where = parse(capture.topic)
    assert where is not None
    return decoders.decode(where, Delivery(capture.topic, capture.payload, 1, capture.retained, False, 1))


def replay(name):
    """What each message of a capture says, by topic; those that say nothing are left out."""
    decoders = Decoders()
    said = {}
    for capture in captures(name):
        found = decode(decoders, capture)
        assert found.values is not None and found.why == ""
        if found.values:
            said.setdefault(capture.topic, []).append({v.name: (v.value, v.unit) for v in found.values})
    return said


def test_pysparkplug():
    said = replay("sparkplug-pysparkplug")
    (birth,) = said["spBv1.0/store-7/NBIRTH/fridges"]
    assert birth["Uptime"] == (90061, "") and birth["Balance"] == (-5, "")
    assert birth["Installed"] == (1772323200000, "ms")
    assert said["spBv1.0/store-7/DBIRTH/fridges/cold-1"] == [
        {"Temperature": (4.5, ""), "Door/Open": (False, ""), "Offset": (-12, ""), "Serial": ("FR-0042", "")}
    ]
    assert said["spBv1.0/store-7/NDATA/fridges"] == [{"Uptime": (90062, "")}]


def test_sparkplug_client_of_npm():
    said = replay("sparkplug-client")
    assert said["spBv1.0/store-7/NBIRTH/ovens"] == [{"Firmware": ("1.2.3", ""), "Load": (-7, "")}]
    assert said["spBv1.0/store-7/DBIRTH/ovens/left"] == [
        {"Temperature": (182.5, "Cel"), "Power": (2400, "W"), "Heating": (True, "")}
    ]
    assert said["spBv1.0/store-7/DDATA/ovens/left"] == [
        {"Temperature": (183.0, "Cel"), "Heating": (False, "")},
        {"Offset": (-3, "")},
    ]


@pytest.mark.parametrize("name", ["sparkplug-pysparkplug", "sparkplug-client"])
def test_the_last_will_of_a_killed_edge_node_takes_all_of_it(name):
    decoders = Decoders()
    present = {}
    for capture in captures(name):
        present.update(decode(decoders, capture).present)
    assert len(present) == 2 and set(present.values()) == {False}


def test_zigbee2mqtt():
    said = replay("zigbee2mqtt")
    assert said == {
        "zigbee2mqtt/Cold room": [
            {"battery": (87, "%"), "humidity": (61.4, "%"), "linkquality": (112, "lqi"), "temperature": (3.9, "°C")}
        ],
        "zigbee2mqtt/back-door": [
            {
                "contact": (False, ""),  # as in the payload, though the list says that false is "on"
                "tamper": (False, ""),
                "voltage": (2995, "mV"),
                "last_seen": ("2026-03-01T08:15:00+01:00", ""),
            }
        ],
        "zigbee2mqtt/plug": [
            {
                "state": (True, ""),
                "power": (184.2, "W"),
                "energy": (12.07, "kWh"),
                "power_on_behavior": ("previous", ""),
            }
        ],
    }


def test_zigbee2mqtt_without_its_list_has_values_without_units():
    (cold,) = [capture for capture in captures("zigbee2mqtt") if capture.topic == "zigbee2mqtt/Cold room"]
    found = decode(Decoders(), cold)
    assert found.values is not None
    assert {v.name: (v.value, v.unit) for v in found.values} == {
        "battery": (87, ""),
        "humidity": (61.4, ""),
        "linkquality": (112, ""),
        "temperature": (3.9, ""),
    }


def test_tasmota():
    assert replay("tasmota") == {
        "devices/scale-1/tele/SENSOR": [{"DS18B20.Temperature": (21.3, "°C"), "ENERGY.Power": (42, "W")}],
        "devices/scale-1/tele/STATE": [{"POWER": (True, "")}],
    }


def test_esphome():
    assert replay("esphome") == {
        "devices/oven-2/sensor/chamber_temperature/state": [{"Chamber Temperature": (182.5, "°C")}],
        "devices/oven-2/binary_sensor/door/state": [{"Door": (False, "")}],
    }


def test_shelly():
    assert replay("shelly") == {
        "devices/shelly-3/status/switch:0": [
            {
                "apower": (8.9, "W"),
                "voltage": (237.5, "V"),
                "aenergy.total": (6.532, "Wh"),
                "aenergy.by_minute.0": (45.199, "Wh"),
                "output": (True, ""),
            }
        ]
    }


def test_a_retained_message_of_an_edge_node_tells_of_the_past():
    first = captures("sparkplug-client")[0]
    assert decode(Decoders(), Capture(first.topic, first.payload, True)) is PLAIN


def test_a_command_is_nobodys_word():
    assert decode(Decoders(), Capture("spBv1.0/g/NCMD/n", b"\xff", False)) is PLAIN


def test_a_plain_message_is_for_no_decoder():
    assert decode(Decoders(), Capture("devices/d/temp", b'{"a": 1}', False)) is PLAIN
    assert decode(Decoders(), Capture("zigbee2mqtt/lamp/other", b'{"a": 1}', False)) is PLAIN


def test_what_is_hidden_is_forgotten():
    decoders = Decoders()
    for capture in captures("zigbee2mqtt"):
        where = parse(capture.topic)
        assert where is not None
        decode(decoders, capture)
        decoders.hide(where, capture.topic)
    assert decoders.channels.by_topic == {}
    for capture in captures("sparkplug-client"):
        where = parse(capture.topic)
        assert where is not None
        found = decode(decoders, capture)
        if where.message_type == "DDATA":
            assert "Temperature" not in {value.name for value in found.values or ()}
        decoders.hide(where, capture.topic)
