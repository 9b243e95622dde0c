"""Each protocol's command has its own topic, and only our own has answers."""

import pytest

from agent.errors import RefusedError
from agent.model import DeviceProtocol
from agent.mqtt.commands.route import Route, Speaks, route


@pytest.mark.parametrize(
    ("device", "name", "speaks", "topic", "answer"),
    [
        ("d", "open", Speaks(), "devices/d/cmd/open", "devices/d/cmd/open/ack"),
        ("n", "cmd", Speaks(DeviceProtocol.SPARKPLUG, "g"), "spBv1.0/g/NCMD/n", ""),
        ("n.pump", "cmd", Speaks(DeviceProtocol.SPARKPLUG, "g"), "spBv1.0/g/DCMD/n/pump", ""),
        ("lamp", "set", Speaks(DeviceProtocol.ZIGBEE2MQTT), "zigbee2mqtt/lamp/set", ""),
    ],
)
def test_the_topic_of_a_command(device, name, speaks, topic, answer):
    assert route(device, name, speaks) == Route(topic, answer)


@pytest.mark.parametrize("protocol", [DeviceProtocol.SPARKPLUG, DeviceProtocol.ZIGBEE2MQTT])
def test_a_command_that_the_protocol_does_not_have_is_refused(protocol):
    with pytest.raises(RefusedError) as refused:
        route("d", "open", Speaks(protocol, "g"))
    assert refused.value.reason == "BAD_REQUEST"
