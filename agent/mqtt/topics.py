"""Topics: what a topic says, whether a filter matches it, which rule decides. Pure."""

import re
from dataclasses import dataclass
from enum import Enum

from agent.errors import RefusedError
from agent.spec import DeviceRule, Residency

ROOT = "devices"
EVERYTHING = f"{ROOT}/#"
MAX_TOPIC_BYTES = 512

_DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_COMMAND = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Kind(Enum):
    """What a device topic is for. Only a COMMAND is not the device's own word."""

    CHANNEL = "channel"
    STATUS = "status"
    COMMAND = "command"
    ACK = "ack"


@dataclass(frozen=True, slots=True)
class DeviceTopic:
    """`devices/<device>/<channel>`; `command` is the name in `cmd/<name>` and `cmd/<name>/ack`, else empty."""

    device: str
    channel: str
    kind: Kind
    command: str = ""


def is_device_id(text: str) -> bool:
    return _DEVICE.fullmatch(text) is not None


def is_command_name(text: str) -> bool:
    return _COMMAND.fullmatch(text) is not None


def parse(topic: str) -> DeviceTopic | None:
    """What `topic` says, or None when it is no device's topic."""
    if len(topic.encode(errors="replace")) > MAX_TOPIC_BYTES:
        return None
    root, _, rest = topic.partition("/")
    device, _, channel = rest.partition("/")
    if root != ROOT or not is_device_id(device) or not channel or "\0" in channel:
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


# --- rules ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to a message. A message that isn't forwarded must never become a record."""

    forward: bool
    priority: int


_UNRULED = Verdict(forward=True, priority=5)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules in order, their filters split: the first that matches decides."""

    rules: tuple[tuple[tuple[str, ...], Verdict], ...] = ()

    def decide(self, topic: str) -> Verdict:
        levels = tuple(topic.split("/"))
        for split, verdict in self.rules:
            if matches(split, levels):
                return verdict
        return _UNRULED


def compile_rules(rules: tuple[DeviceRule, ...]) -> RuleSet:
    """Raises RefusedError BAD_REQUEST that names the first rule that can't be: then none of them holds.

    A filter must begin with `devices/` (or be `#`): one that can't match would let out what it was meant to keep in.
    """
    compiled: list[tuple[tuple[str, ...], Verdict]] = []
    for number, rule in enumerate(rules, start=1):
        where = f"device rule {number}: filter {rule.filter[:128]!r}"
        if not is_filter(rule.filter) or len(rule.filter.encode(errors="replace")) > MAX_TOPIC_BYTES:
            raise RefusedError("BAD_REQUEST", f"{where} is not an MQTT topic filter of at most {MAX_TOPIC_BYTES} bytes")
        if rule.filter != "#" and not rule.filter.startswith(f"{ROOT}/"):
            raise RefusedError("BAD_REQUEST", f"{where} must begin with '{ROOT}/', or be '#'")
        if not 0 <= rule.priority <= 9:
            raise RefusedError("BAD_REQUEST", f"{where} has priority {rule.priority}, which must be 0..9")
        forward = rule.forward and rule.residency is not Residency.STORE
        compiled.append((tuple(rule.filter.split("/")), Verdict(forward, rule.priority)))
    return RuleSet(tuple(compiled))
