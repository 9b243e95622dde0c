"""Nobody speaks in the name of a device that speaks for itself."""

import pytest

from agent.model import Credential, DeviceProtocol
from agent.mqtt.access.accounts import Account
from agent.mqtt.registry.names import ANOTHERS, is_anothers
from agent.mqtt.registry.registry import Registry
from agent.mqtt.topics import parse
from agent.mqtt.wire.delivery import Delivery

NATIVE = Account("lock1", credential=Credential.CERTIFICATE)
NODE = Account("press", credential=Credential.PASSWORD, protocol=DeviceProtocol.SPARKPLUG, group="hall")
LAMP = Account("lamp", credential=Credential.NONE)
LISTED = Account("bulb", credential=Credential.PASSWORD, protocol=DeviceProtocol.ZIGBEE2MQTT)


@pytest.mark.parametrize(
    ("account", "topic", "anothers"),
    [
        (NATIVE, "devices/lock1/status", False),
        (NATIVE, "zigbee2mqtt/lock1", True),
        (NATIVE, "zigbee2mqtt/lock1/availability", True),
        (NATIVE, "zigbee2mqtt/lock1/set", False),  # what somebody wants of it, and nobody's word
        (Account("a.b", credential=Credential.PASSWORD), "spBv1.0/hall/DDATA/a/b", True),
        (NODE, "spBv1.0/hall/NDATA/press", False),
        (NODE, "spBv1.0/yard/NDATA/press", True),
        (NODE, "zigbee2mqtt/press", True),
        (LAMP, "zigbee2mqtt/lamp", False),  # it has no credential: it was registered for its zone
        (LISTED, "zigbee2mqtt/bulb", False),
        (None, "zigbee2mqtt/lamp", False),
    ],
)
def test_a_name_is_whose_protocol_it_is_registered_with(account: Account | None, topic: str, anothers: bool) -> None:
    where = parse(topic)
    assert where is not None
    assert is_anothers(account, where, topic) == anothers


def test_a_bridge_does_not_say_that_a_lock_is_away_nor_what_it_reads() -> None:
    registry = Registry()
    registry.follow([NATIVE])

    def say(topic: str, payload: bytes) -> list[str]:
        where = parse(topic)
        assert where is not None
        delivery = Delivery(topic, payload, 1, False, False, 1)
        decoded = registry.decode(where, delivery)
        assert (decoded is ANOTHERS) == topic.startswith("zigbee2mqtt/")
        return [event.kind for event in registry.observe(where, delivery, 10**18, True, decoded)]

    assert say("devices/lock1/status", b"online") == ["device.online"]
    assert say("zigbee2mqtt/lock1/availability", b"offline") == ["device.malformed"]
    assert say("zigbee2mqtt/lock1", b'{"locked":true}') == []  # told once in a while
    found = registry.get("lock1")
    assert found is not None and found.online and found.messages == 1 and found.last_topic == "devices/lock1/status"
