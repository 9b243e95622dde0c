"""Batches of device messages, checked by hand: thousands a second come in. Pure.

The rules are those of central.bounds, which looks at every field of every message by its name, in ten times the time.
This says "sound" only of what it would pass; whatever else there is goes to it, and it says what is wrong.
"""

from typing import Any

from google.protobuf.message import Message

from central import bounds
from storeedge.v1.control_pb2 import Batch
from storeedge.v1.record_pb2 import DeviceMessage, Record
from storeedge.v1.types_pb2 import RECORD_CLASS_DEVICE

_FEWEST, _MOST = bounds.count("Batch.records")
_KEY_CHARACTERS = bounds.size("DeviceMessage.idempotency_key")[1] // 4  # no more bytes than allowed, whatever they are
_PAYLOAD_BYTES = bounds.size("DeviceMessage.payload")[1]
# (device, topic) and boots that were found sound: a store has some hundred channels, and they come again and again.
_REMEMBERED = 20_000
_channels: set[tuple[str, str]] = set()
_boots: set[str] = set()


def sound(batch: Batch) -> bool:
    """Whether this is a batch of device messages and no gaps, in which every bound holds."""
    if batch.record_class != RECORD_CLASS_DEVICE:
        return False
    head = Batch(record_class=batch.record_class, first_seq=batch.first_seq, records=[Record()])
    return _FEWEST <= len(batch.records) <= _MOST and bounds.violation(head) is None and all(map(_sound, batch.records))


def _sound(record: Record) -> bool:
    if record.WhichOneof("body") != "device":
        return False
    if record.boot_id not in _boots and not _learn(_boots, record.boot_id, Record(boot_id=record.boot_id)):
        return False
    message = record.device
    channel = (message.device, message.topic)
    if channel not in _channels and not _learn(
        _channels, channel, DeviceMessage(device=message.device, topic=message.topic)
    ):
        return False
    if len(message.payload) > _PAYLOAD_BYTES or message.qos > 2 or message.packet_id > 65_535:
        return False
    unusual = message.content_type or message.user_properties or message.correlation_data or message.values
    return not (unusual or len(message.idempotency_key) > _KEY_CHARACTERS) or bounds.violation(message) is None


def _learn(known: "set[Any]", key: object, message: Message) -> bool:
    if bounds.violation(message):
        return False
    if len(known) >= _REMEMBERED:
        known.clear()
    known.add(key)
    return True
