"""Packets as a broker writes them, by other means than ours: properties are packed by paho."""

from struct import pack
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def text(characters: str) -> bytes:
    data = characters.encode()
    return pack(">H", len(data)) + data


def packet(first: int, body: bytes) -> bytes:
    length, digits = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (128 if length else 0))
        if not length:
            return bytes((first, *digits)) + body


def properties(kind: int = PacketTypes.PUBLISH, **named: Any) -> bytes:
    found = Properties(kind)
    for name, value in named.items():
        setattr(found, name, value)
    return bytes(found.pack())


def publish(
    topic: str | bytes,
    payload: bytes = b"",
    *,
    qos: int = 1,
    packet_id: int = 1,
    dup: bool = False,
    retain: bool = False,
    block: bytes = b"\0",
) -> bytes:
    """`block`: the properties with their length."""
    name = topic.encode() if isinstance(topic, str) else topic
    body = pack(">H", len(name)) + name + (pack(">H", packet_id) if qos else b"") + block + payload
    return packet(0x30 | dup << 3 | qos << 1 | retain, body)
