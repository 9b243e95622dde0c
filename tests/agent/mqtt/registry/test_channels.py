"""What is known of topics: bounded, one's own, and gone when it is withdrawn."""

import json

import pytest

from agent.mqtt.registry.channels import Announced, Channels
from agent.mqtt.registry.decoded import PLAIN


def config(topic, **more):
    return json.dumps({"stat_t": topic, **more}).encode()


def known(channels):
    return {topic: [reading.name for reading in readings] for topic, readings in channels.by_topic.items()}


def test_a_config_holds_until_it_is_withdrawn():
    channels = Channels()
    assert channels.learn("homeassistant/sensor/d/a/config", config("devices/d/x")) is PLAIN
    channels.learn("homeassistant/sensor/d/b/config", config("devices/d/x"))
    assert known(channels) == {"devices/d/x": ["a", "b"]}
    channels.learn("homeassistant/sensor/d/a/config", b"")
    assert known(channels) == {"devices/d/x": ["b"]}
    channels.learn("homeassistant/sensor/d/b/config", b"")
    assert known(channels) == {}


def test_a_config_that_changes_takes_the_place_of_the_old():
    channels = Channels()
    channels.learn("homeassistant/sensor/d/a/config", config("devices/d/x"))
    channels.learn("homeassistant/sensor/d/a/config", config("devices/d/y"))
    assert known(channels) == {"devices/d/y": ["a"]}


def test_two_that_say_the_same_are_withdrawn_one_by_one():
    channels = Channels()
    said = config("devices/d/x", name="n")
    channels.learn("homeassistant/sensor/d/a/config", said)
    channels.learn("homeassistant/sensor/d/b/config", said)
    channels.learn("homeassistant/sensor/d/a/config", b"")
    assert known(channels) == {"devices/d/x": ["n"]}


@pytest.mark.parametrize(
    "topic", ["devices/other/x", "devices/d/cmd/open", "elsewhere/d", "spBv1.0/g/NDATA/d", "zigbee2mqtt/d/set"]
)
def test_a_device_says_nothing_of_topics_that_are_not_its_own(topic):
    channels = Channels()
    channels.learn("homeassistant/sensor/d/a/config", config(topic))
    assert known(channels) == {}
    channels.learn("homeassistant/sensor/0x01/a/config", config("zigbee2mqtt/lamp"))
    assert known(channels) == {"zigbee2mqtt/lamp": ["a"]}


def test_what_is_malformed_changes_nothing():
    channels = Channels()
    channels.learn("homeassistant/sensor/d/a/config", config("devices/d/x"))
    found = channels.learn("homeassistant/sensor/d/a/config", b"{")
    assert found.values is None and found.why
    assert known(channels) == {"devices/d/x": ["a"]}


def test_beyond_its_bounds_nothing_is_learnt_and_that_is_said():
    channels = Channels(max_readings=3, max_configs=2)
    for name in "abc":
        found = channels.learn(f"homeassistant/sensor/d/{name}/config", config("devices/d/x"))
    assert found.why == "more discovery configs than are kept"
    components = {str(number): {"p": "sensor"} for number in range(3)}
    found = channels.learn("homeassistant/sensor/d/a/config", config("devices/d/y"))
    assert found is PLAIN
    many = config("devices/d/x", cmps=components)
    assert Channels(max_readings=2).learn("homeassistant/device/d/config", many).why == (
        "more discovered readings than are kept"
    )


def test_one_topic_has_at_most_64_readings_of_one_list():
    exposes = [{"type": "numeric", "property": f"p{number}"} for number in range(500)]
    listed = json.dumps([{"friendly_name": "d", "definition": {"exposes": exposes}}]).encode()
    channels = Channels()
    channels.learn("zigbee2mqtt/bridge/devices", listed)
    assert len(channels.by_topic["zigbee2mqtt/d"]) == 64


def test_only_what_changed_has_to_be_written_and_a_restart_knows_it():
    channels = Channels()
    channels.learn("homeassistant/sensor/d/a/config", config("devices/d/x"))
    channels.learn("homeassistant/sensor/d/b/config", config("devices/e/x"))  # of nothing of its own
    due = channels.take_changes()
    assert due == (Announced("homeassistant/sensor/d/a/config", config("devices/d/x")),)
    channels.learn("homeassistant/sensor/d/a/config", config("devices/d/x"))
    assert channels.take_changes() == ()
    after = Channels()
    after.restore(due)
    assert after.by_topic == channels.by_topic and after.take_changes() == ()


def test_what_could_not_be_written_stays_due_unless_it_changed_since():
    channels = Channels()
    topic = "homeassistant/sensor/d/a/config"
    channels.learn(topic, config("devices/d/x"))
    due = channels.take_changes()
    channels.put_back(due)
    assert channels.take_changes() == due
    channels.learn(topic, b"")
    channels.put_back(due)
    assert channels.take_changes() == (Announced(topic, b""),)


def test_what_is_forgotten_is_not_used_and_not_kept():
    channels = Channels()
    topic = "homeassistant/sensor/d/a/config"
    channels.learn(topic, config("devices/d/x"))
    channels.forget(topic)
    assert known(channels) == {}
    assert channels.take_changes() == (Announced(topic, b""),)
