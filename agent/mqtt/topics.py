"""Topics: what a topic says of whose device, and whether a filter matches it. Pure."""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

ROOT = "devices"
SPARKPLUG_ROOT = "spBv1.0"
DISCOVERY_ROOT = "homeassistant"
ZIGBEE_ROOT = "zigbee2mqtt"
ROOTS = (ROOT, SPARKPLUG_ROOT, DISCOVERY_ROOT, ZIGBEE_ROOT)
SUBSCRIPTIONS = tuple(f"{root}/#" for root in ROOTS)
MAX_TOPIC_BYTES = 512

_MAX_DEVICE = 64
_DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NO_DEVICE = re.compile(r"[^A-Za-z0-9_.-]")
_COMMAND = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Sparkplug 3.0, 4.1: the message types of edge nodes and their devices, and those that are sent to them.
_REPORTS = frozenset({"NBIRTH", "NDEATH", "NDATA", "DBIRTH", "DDEATH", "DDATA"})
_ORDERS = frozenset({"NCMD", "DCMD"})
# Topics that are looked up again for each message of the same topic. A store has hundreds to some thousands of them;
# at 512 bytes each this is bounded to some 5 MB, whoever makes up topics.
_REMEMBERED = 4096


class Kind(Enum):
    """What a topic is for. Only a COMMAND is not the device's own word."""

    CHANNEL = "channel"
    STATUS = "status"
    COMMAND = "command"
    ACK = "ack"
    SPARKPLUG = "sparkplug"
    DISCOVERY = "discovery"
    ZIGBEE = "zigbee"


@dataclass(frozen=True, slots=True)
class DeviceTopic:
    """Whose topic it is, and what it carries.

    `channel` is what follows the device's name; empty for `zigbee2mqtt/<name>` itself. `command` is the name in
    `cmd/<name>` and `cmd/<name>/ack`, else empty. `group`, `message_type`, `node` and `unit` are Sparkplug's own
    words, as they stand in the topic; `unit` is the device below the node, empty for the node itself.
    """

    device: str
    channel: str
    kind: Kind
    command: str = ""
    group: str = ""
    message_type: str = ""
    node: str = ""
    unit: str = ""


def is_device_id(text: str) -> bool:
    return _DEVICE.fullmatch(text) is not None


def is_command_name(text: str) -> bool:
    return _COMMAND.fullmatch(text) is not None


@lru_cache(maxsize=_REMEMBERED)
def parse(topic: str) -> DeviceTopic | None:
    """What `topic` says, or None when it is no device's topic."""
    if len(topic.encode(errors="replace")) > MAX_TOPIC_BYTES or "\0" in topic:
        return None
    root, _, rest = topic.partition("/")
    match root:
        case "devices":
            return _native(rest)
        case "spBv1.0":
            return _sparkplug(rest.split("/"))
        case "zigbee2mqtt":
            return _zigbee(rest)
        case "homeassistant":
            return _discovery(rest.split("/"))
        case _:
            return None


def _native(rest: str) -> DeviceTopic | None:
    """`devices/<device>/<channel>`."""
    device, _, channel = rest.partition("/")
    if not is_device_id(device) or not channel:
        return None
    if channel == "status":
        return DeviceTopic(device, channel, Kind.STATUS)
    match channel.split("/"):
        case ["cmd", name] if is_command_name(name):
            return DeviceTopic(device, channel, Kind.COMMAND, name)
        case ["cmd", name, "ack"] if is_command_name(name):
            return DeviceTopic(device, channel, Kind.ACK, name)
        case _:
            return DeviceTopic(device, channel, Kind.CHANNEL)


def _sparkplug(levels: list[str]) -> DeviceTopic | None:
    """`spBv1.0/<group>/<type>/<node>[/<device>]`. STATE/<host> is a host application's, no device's."""
    match levels:
        case [group, message_type, node]:
            unit = ""
        case [group, message_type, node, unit] if unit:
            pass
        case _:
            return None
    device = _named(f"{node}.{unit}" if unit else node)
    if not device or not node or message_type not in _REPORTS | _ORDERS or message_type.startswith("D") != bool(unit):
        return None
    kind = Kind.COMMAND if message_type in _ORDERS else Kind.SPARKPLUG
    return DeviceTopic(device, message_type, kind, group=group, message_type=message_type, node=node, unit=unit)


def _zigbee(rest: str) -> DeviceTopic | None:
    """`zigbee2mqtt/<name>[/…]`; `bridge` is zigbee2mqtt itself."""
    name, _, channel = rest.partition("/")
    device = _named(name)
    if not device:
        return None
    last = channel.rpartition("/")[2]
    if last == "availability" or (name == "bridge" and channel == "state"):
        return DeviceTopic(device, channel, Kind.STATUS)
    if channel.partition("/")[0] in {"set", "get"} or (name == "bridge" and channel.startswith("request/")):
        return DeviceTopic(device, channel, Kind.COMMAND)
    return DeviceTopic(device, channel, Kind.ZIGBEE)


def _discovery(levels: list[str]) -> DeviceTopic | None:
    """`homeassistant/<component>/[<node>/]<object>/config`: the device is the node, or the object without one."""
    match levels:
        case [component, first, "config"] if component:
            channel = f"{component}/config"
        case [component, first, second, "config"] if component and second:
            channel = f"{component}/{second}/config"
        case _:
            return None
    device = _named(first)
    return DeviceTopic(device, channel, Kind.DISCOVERY) if device else None


def _named(name: str) -> str:
    """A device id of a name that others chose ("Living room lamp"); empty when there is none."""
    return _NO_DEVICE.sub("_", name) if len(name) <= _MAX_DEVICE else ""


def command_topic(device: str, name: str) -> str:
    return f"{ROOT}/{device}/cmd/{name}"


def ack_topic(device: str, name: str) -> str:
    return f"{ROOT}/{device}/cmd/{name}/ack"


# --- filters (MQTT 5, 4.7) -----------------------------------------------------------------------


def is_filter(text: str) -> bool:
    """Whether `text` is a topic filter: `#` only as the last level, `+` only as a whole level, no NUL, not empty."""
    levels = text.split("/")
    return (
        text != ""
        and "\0" not in text
        and all("#" not in level for level in levels[:-1])
        and ("#" not in levels[-1] or levels[-1] == "#")
        and all("+" not in level or level == "+" for level in levels)
    )


def matches(levels: tuple[str, ...], topic: tuple[str, ...]) -> bool:
    """Whether the filter, split at `/`, matches the topic, split at `/`. `a/#` matches `a` too (4.7.1.2).

    A wildcard in the first level never matches a topic that begins with `$` (4.7.2).
    """
    if topic[0].startswith("$") and levels[0] in {"#", "+"}:
        return False
    for at, level in enumerate(levels):
        if level == "#":
            return True
        if at == len(topic) or level not in {"+", topic[at]}:
            return False
    return len(levels) == len(topic)
