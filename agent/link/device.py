"""Device messages as records, by hand: the one body of which there are thousands a second. Pure.

What comes out is what protobuf's own encoder makes of the same message (a property test compares), in a fifth of its
time: no message object is made, and device and topic are encoded once for as long as they are in use.
"""

import struct

from agent.link.varint import varint
from agent.model import DeviceMessage, DeviceValue, Stamp

# Encoded (device, topic) pairs that are kept: one for each channel of a store's devices. 1,000 take 300 KB.
_CHANNELS = 1000
_channels: dict[tuple[str, str], bytes] = {}

_FLAGS = {
    (qos, retained): (b"\x20" + bytes([qos]) if qos else b"") + (b"\x28\x01" if retained else b"")
    for qos in range(3)
    for retained in (False, True)
}


def beginning(stamp: Stamp) -> bytes:
    """What every record of one moment begins with."""
    return b"".join(
        (
            b"\x09" + stamp.time_unix_nano.to_bytes(8, "little") if stamp.time_unix_nano else b"",
            b"\x10" + varint(stamp.boot_offset_nano) if stamp.boot_offset_nano else b"",
            _text(b"\x1a", stamp.boot_id),
        )
    )


def encode(begin: bytes, body: DeviceMessage) -> bytes:
    """A storeedge.v1.Record, serialised. Raises UnicodeEncodeError for text that is no Unicode."""
    channel = _channels.get((body.device, body.topic)) or _channel(body.device, body.topic)
    payload = body.payload
    parts = [channel, b"\x1a", varint(len(payload)), payload] if payload else [channel]
    parts.append(_FLAGS[body.qos, body.retained])
    if body.content_type or body.user_properties or body.correlation_data:
        parts.append(_properties(body))
    if body.packet_id:
        parts += (b"\x48", varint(body.packet_id))
    if body.redelivered:
        parts.append(b"\x50\x01")
    if body.idempotency_key:
        parts.append(_text(b"\x5a", body.idempotency_key))
    if body.values:
        parts += [_member(b"\x62", _value(value)) for value in body.values]
    message = b"".join(parts)
    return b"".join((begin, b"\x6a", varint(len(message)), message))


def _channel(device: str, topic: str) -> bytes:
    if len(_channels) >= _CHANNELS:
        _channels.clear()
    found = _channels[device, topic] = _text(b"\x0a", device) + _text(b"\x12", topic)
    return found


def _properties(body: DeviceMessage) -> bytes:
    pairs = [_member(b"\x3a", _text(b"\x0a", k) + _text(b"\x12", v)) for k, v in body.user_properties]
    correlation = _member(b"\x42", body.correlation_data) if body.correlation_data else b""
    return b"".join((_text(b"\x32", body.content_type), *pairs, correlation))


def _value(value: DeviceValue) -> bytes:
    match value.value:
        case bool():  # before int, which it is too
            found = b"\x28" + bytes([value.value])
        case int():
            found = b"\x20" + varint((value.value << 1) ^ (value.value >> 63))
        case float():
            found = b"\x19" + struct.pack("<d", value.value)
        case text:
            found = _member(b"\x32", text.encode())
    time = b"\x39" + value.time_unix_nano.to_bytes(8, "little") if value.time_unix_nano else b""
    return b"".join((_text(b"\x0a", value.name), _text(b"\x12", value.unit), found, time))


def _text(tag: bytes, text: str) -> bytes:
    """A string field; one that is empty is not written."""
    return _member(tag, text.encode()) if text else b""


def _member(tag: bytes, data: bytes) -> bytes:
    return b"".join((tag, varint(len(data)), data))
