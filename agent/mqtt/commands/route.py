"""Which topic a command takes to its device, and whether its protocol has an answer. Pure."""

from dataclasses import dataclass

from agent.errors import RefusedError
from agent.model import DeviceProtocol
from agent.mqtt.topics import SPARKPLUG_ROOT, ZIGBEE_ROOT, ack_topic, command_topic


@dataclass(frozen=True, slots=True)
class Speaks:
    """How a device is spoken to. `group` is a Sparkplug node's."""

    protocol: DeviceProtocol = DeviceProtocol.NATIVE
    group: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """`answer_topic` is empty when no answer comes: then a command has ended when the broker has it."""

    topic: str
    answer_topic: str


def route(device: str, name: str, speaks: Speaks) -> Route:
    """Raises RefusedError BAD_REQUEST when the device can't be told `name`.

    Sparkplug 3.0, 6.4.24 and 6.4.25: NCMD for a node, DCMD for `node.device`; the payload is the caller's protobuf.
    zigbee2mqtt takes `set` and `get` (its guide, "MQTT Topics and Messages"); the payload is the caller's JSON.
    """
    match speaks.protocol:
        case DeviceProtocol.NATIVE:
            return Route(command_topic(device, name), ack_topic(device, name))
        case DeviceProtocol.SPARKPLUG:
            if name != "cmd":
                raise RefusedError("BAD_REQUEST", f"device {device} speaks Sparkplug: its command is called 'cmd'")
            node, _, unit = device.partition(".")
            kind, rest = ("DCMD", f"{node}/{unit}") if unit else ("NCMD", node)
            return Route(f"{SPARKPLUG_ROOT}/{speaks.group}/{kind}/{rest}", "")
        case DeviceProtocol.ZIGBEE2MQTT:
            if name not in {"set", "get"}:
                raise RefusedError("BAD_REQUEST", f"device {device} is zigbee2mqtt's: its commands are 'set' and 'get'")
            return Route(f"{ZIGBEE_ROOT}/{device}/{name}", "")
