"""From what the broker delivered to a DeviceMessage, or the name of why not. Pure but for what the rules remember."""

import hashlib
from enum import StrEnum
from typing import NamedTuple

from agent.model import DeviceMessage, DeviceValue
from agent.mqtt.rules.judge import Hold, Why
from agent.mqtt.rules.rules import Rules
from agent.mqtt.topics import DeviceTopic, parse
from agent.mqtt.wire.delivery import Delivery

# The bounds of storeedge.v1.DeviceMessage.
MAX_PAYLOAD_BYTES = 128 * 1024
MAX_CONTENT_TYPE_BYTES = 128
MAX_USER_PROPERTIES = 16
MAX_USER_PROPERTY_KEY_BYTES = 128
MAX_USER_PROPERTY_VALUE_BYTES = 512
MAX_CORRELATION_BYTES = 64
MAX_IDEMPOTENCY_KEY_BYTES = 128
_NANO = 1_000_000_000
_LAST_NANO = (1 << 63) - 1  # what the spool's file can hold: the year 2262; a wrong clock may be near it


class Refusal(StrEnum):
    """Why a message can't become a record."""

    TOPIC = "no topic of a device"
    PAYLOAD = f"payload over {MAX_PAYLOAD_BYTES} bytes"
    CONTENT_TYPE = f"content type over {MAX_CONTENT_TYPE_BYTES} bytes"
    USER_PROPERTIES = f"more than {MAX_USER_PROPERTIES} user properties, or too long ones"
    CORRELATION = f"correlation data over {MAX_CORRELATION_BYTES} bytes"


class Now(NamedTuple):
    """`seconds` only grow (Clock.seconds), `unix_nano` is the wall clock. Read once for each batch."""

    seconds: float
    unix_nano: int


class Refused(NamedTuple):
    """`device` is empty when not even the topic could be read."""

    why: Refusal
    device: str


class Accepted(NamedTuple):
    """Tuples, because they are made for each message: a frozen dataclass costs five times as much.

    `message` is None when a rule keeps it in the store or thins it out: then there is nothing that could become a
    record, and `why` says which. With `hold` it goes to Held.put in place of the spool. `shown`: central may be told
    the topic, and the values in it, apart from the message (the registry's last topic and last values).
    """

    where: DeviceTopic
    message: DeviceMessage | None
    hold: Hold | None = None
    shown: bool = True
    why: Why | None = None


def convert(
    delivery: Delivery, rules: Rules, now: Now, values: tuple[DeviceValue, ...] | None = ()
) -> Accepted | Refused:
    """Nothing is cut to fit: a message that doesn't fit is refused whole.

    `values` is what a decoder made of the payload, None when it could make nothing of what it should have known:
    such a message is forwarded only if its rule says `undecoded`.
    """
    topic, payload, qos, retained, redelivered, packet_id, content_type, properties, correlation, _, expiry = delivery
    where = parse(topic)
    if where is None:
        return Refused(Refusal.TOPIC, "")
    if len(payload) > MAX_PAYLOAD_BYTES or content_type or properties or correlation:
        misfit = _misfit(delivery)
        if misfit is not None:
            return Refused(misfit, where.device)
    rule = rules.find(topic)
    priority, hold, shown = 5, None, True
    if rule is not None:
        priority, shown = rule.spec.priority, rule.shown
    if values is None and not (rule is not None and rule.spec.undecoded):
        return Accepted(where, None, None, shown, Why.UNDECODED)
    if rule is not None and not rule.passes:
        found = rules.judge(rule, topic, payload, now.seconds)
        if isinstance(found, Why):
            return Accepted(where, None, None, shown, found)
        payload, hold = found.payload, found.hold
        if rule.redact:
            values = ()  # under whatever names, they say what was taken out
    if hold is None and topic in rules.waiting:
        hold = rules.behind(topic)
    key = idempotency_key(properties) if properties else ""
    message = DeviceMessage(
        where.device,
        topic,
        payload,
        qos,
        retained,
        content_type,
        properties,
        correlation,
        packet_id,
        redelivered,
        key,
        values or (),
        priority,
        0 if expiry is None else min(now.unix_nano + expiry * _NANO, _LAST_NANO),
    )
    return Accepted(where, message, hold, shown)


def idempotency_key(properties: tuple[tuple[str, str], ...]) -> str:
    """What the device calls this message: "idempotency-key", else "source" and "id" of a CloudEvent; "" without.

    One that is too long is hashed, so that it still tells one message from another. Of a name that comes twice the
    first counts. In a CloudEvent the source is a URI, which has no blank in it (cloudevents.io, MQTT binding 3.1).
    """
    said: dict[str, str] = {}
    for name, value in properties:
        said.setdefault(name, value)
    key = said.get("idempotency-key", "")
    if not key and "specversion" in said and said.get("id") and said.get("source"):
        key = f"{said['source']} {said['id']}"
    whole = key.encode(errors="replace")
    if len(whole) > MAX_IDEMPOTENCY_KEY_BYTES:
        return f"sha256:{hashlib.sha256(whole).hexdigest()}"
    return key


def _misfit(delivery: Delivery) -> Refusal | None:
    if len(delivery.payload) > MAX_PAYLOAD_BYTES:
        return Refusal.PAYLOAD
    if len(delivery.content_type.encode()) > MAX_CONTENT_TYPE_BYTES:
        return Refusal.CONTENT_TYPE
    if len(delivery.user_properties) > MAX_USER_PROPERTIES or any(
        len(key.encode()) > MAX_USER_PROPERTY_KEY_BYTES or len(value.encode()) > MAX_USER_PROPERTY_VALUE_BYTES
        for key, value in delivery.user_properties
    ):
        return Refusal.USER_PROPERTIES
    if len(delivery.correlation_data) > MAX_CORRELATION_BYTES:
        return Refusal.CORRELATION
    return None
