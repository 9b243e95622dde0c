"""From what the broker delivered to a DeviceMessage, or the name of why not. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from agent.model import DeviceMessage
from agent.mqtt.topics import DeviceTopic, RuleSet, parse

# The bounds of storeedge.v1.DeviceMessage.
MAX_PAYLOAD_BYTES = 128 * 1024
MAX_CONTENT_TYPE_BYTES = 128
MAX_USER_PROPERTIES = 16
MAX_USER_PROPERTY_KEY_BYTES = 128
MAX_USER_PROPERTY_VALUE_BYTES = 512
MAX_CORRELATION_BYTES = 64


@dataclass(frozen=True, slots=True)
class Delivery:
    """One PUBLISH as it came from the broker.

    `topic` is empty when it was no UTF-8. `packet_id` is 0 for QoS 0. `retained` is MQTT's retain flag, which a broker
    sets only on what it had kept when we subscribed (MQTT 5, 3.3.1.3; we don't ask for retain-as-published).
    """

    topic: str
    payload: bytes
    qos: int
    retained: bool
    redelivered: bool
    packet_id: int
    content_type: str = ""
    user_properties: tuple[tuple[str, str], ...] = ()
    correlation_data: bytes = b""


class Refusal(StrEnum):
    """Why a message can't become a record."""

    TOPIC = "not devices/<id>/<channel>"
    PAYLOAD = f"payload over {MAX_PAYLOAD_BYTES} bytes"
    CONTENT_TYPE = f"content type over {MAX_CONTENT_TYPE_BYTES} bytes"
    USER_PROPERTIES = f"more than {MAX_USER_PROPERTIES} user properties, or too long ones"
    CORRELATION = f"correlation data over {MAX_CORRELATION_BYTES} bytes"


@dataclass(frozen=True, slots=True)
class Refused:
    """`device` is empty when not even the topic could be read."""

    why: Refusal
    device: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """`message` is None when a rule keeps it in the store: then there is nothing that could become a record."""

    where: DeviceTopic
    message: DeviceMessage | None


def convert(delivery: Delivery, rules: RuleSet) -> Accepted | Refused:
    """Nothing is cut to fit: a message that doesn't fit is refused whole."""
    where = parse(delivery.topic)
    if where is None:
        return Refused(Refusal.TOPIC, "")
    why = _misfit(delivery)
    if why is not None:
        return Refused(why, where.device)
    verdict = rules.decide(delivery.topic)
    if not verdict.forward:
        return Accepted(where, None)
    message = DeviceMessage(
        device=where.device,
        topic=delivery.topic,
        payload=delivery.payload,
        qos=delivery.qos,
        retained=delivery.retained,
        content_type=delivery.content_type,
        user_properties=delivery.user_properties,
        correlation_data=delivery.correlation_data,
        packet_id=delivery.packet_id,
        redelivered=delivery.redelivered,
        priority=verdict.priority,
    )
    return Accepted(where, message)


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
