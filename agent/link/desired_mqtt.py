"""What a job may see and do at the store's broker, from the wire's message. Pure: the bounds of desired.proto."""

import re

from agent.link.field import check, unique
from agent.spec import MqttGrant
from storeedge.v1 import desired_pb2

RESERVED = ("mqtt_username", "mqtt_password")  # secrets that a run with grants gets from us

_LABEL = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_COMMAND = re.compile(r"\*|[A-Za-z0-9_-]{1,64}")
# Levels that hold no wildcard or are one; # only as the last (MQTT 5, 4.7.1).
_CHANNEL = re.compile(r"(([^+#/\0]*|\+)/)*([^+#/\0]*|\+|#)")
_CHANNEL_BYTES = 256


def grants(at: str, message: desired_pb2.JobSpec) -> tuple[MqttGrant, ...]:
    """Raises RefusedError(BAD_REQUEST) that names the field and what it takes."""
    check(len(message.mqtt) <= 32, at, "at most 32")
    found = tuple(_grant(f"{at}[{index}]", each) for index, each in enumerate(message.mqtt))
    unique(found, at)
    taken = sorted({secret.name for secret in message.secrets} & set(RESERVED)) if found else []
    check(not taken, f"{at}: secrets", f"{' and '.join(taken)}: the node makes them for a job with mqtt")
    return found


def _grant(at: str, message: desired_pb2.MqttGrant) -> MqttGrant:
    many = bool(message.zone or message.device_class)
    check(bool(message.device) != many, at, "either device, or zone or device_class or both")
    for name in ("device", "zone", "device_class"):
        value = getattr(message, name)
        check(not value or bool(_LABEL.fullmatch(value)), f"{at}.{name}", "1..64 of [A-Za-z0-9_.-]")
    check(bool(message.channel or message.commands), at, "channel or commands")
    if message.channel:
        check(len(message.channel.encode()) <= _CHANNEL_BYTES, f"{at}.channel", f"at most {_CHANNEL_BYTES} bytes")
        check(
            bool(_CHANNEL.fullmatch(message.channel)),
            f"{at}.channel",
            "a topic filter, e.g. temperature, camera/# or +",
        )
        own = message.channel.split("/")[0] == "cmd"
        check(not own, f"{at}.channel", "not below cmd: commands, and their answers, come with commands")
    check(len(message.commands) <= 16, f"{at}.commands", "at most 16")
    known = all(_COMMAND.fullmatch(name) for name in message.commands)
    check(known, f"{at}.commands", 'names of 1..64 of [A-Za-z0-9_-], or "*"')
    unique(message.commands, f"{at}.commands")
    return MqttGrant(message.device, message.zone, message.device_class, message.channel, tuple(message.commands))
