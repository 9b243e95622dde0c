"""Sound packets, filters and payloads, from which the fuzzers begin."""

import json
import struct

from storeedge.sparkplug.v1.payload_pb2 import Payload


def _publish(topic: bytes, body: bytes, *, first: int = 0x32, properties: bytes = b"") -> bytes:
    packet_id = b"\0\7" if first & 6 else b""
    rest = struct.pack(">H", len(topic)) + topic + packet_id + bytes([len(properties)]) + properties + body
    length = bytes([len(rest)]) if len(rest) < 128 else bytes([len(rest) & 0x7F | 0x80, len(rest) >> 7])
    return bytes([first]) + length + rest


def _sparkplug() -> list[bytes]:
    birth = Payload(timestamp=1, seq=0)
    birth.metrics.add(name="bdSeq", datatype=8, long_value=1)
    metric = birth.metrics.add(name="temperature", alias=5, datatype=10, double_value=4.5)
    metric.properties.keys.append("engUnit")
    metric.properties.values.add(type=12, string_value="Cel")
    birth.metrics.add(name="door", alias=6, datatype=11, boolean_value=True)
    data = Payload(timestamp=2, seq=1)
    data.metrics.add(alias=5, double_value=5.0)
    death = Payload(timestamp=3)
    death.metrics.add(name="bdSeq", datatype=8, long_value=1)
    pieces = [b"\0" + birth.SerializeToString(), b"\1" + data.SerializeToString(), b"\2" + death.SerializeToString()]
    return [*pieces, b"\xff\xfe\xfd".join(pieces)]


_CONFIGS = (
    {"state_topic": "devices/a/state", "unit_of_measurement": "°C", "value_template": "{{ value_json.temperature }}"},
    {"~": "devices/a", "stat_t": "~/state", "unit_of_meas": "%", "val_tpl": "{{ value_json['humidity'] | float }}"},
    {"dev": {"ids": "a"}, "o": {"name": "x"}, "stat_t": "devices/a/s", "cmps": {"t": {"p": "sensor", "uniq_id": "t"}}},
    [{"friendly_name": "porch", "definition": {"exposes": [{"type": "numeric", "property": "t", "unit": "°C"}]}}],
)

SEEDS: dict[str, list[bytes]] = {
    "stream": [
        b"\x20\x06\0\0\x03\x13\0\x3c",
        b"\x90\x04\0\1\0\2",
        _publish(b"devices/a/b", b"4.2"),
        _publish(b"devices/a/b", b"x" * 200, first=0x3B, properties=b"\x03\0\1a\x26\0\1k\0\1v\x02\0\0\0\x09"),
        _publish(b"devices/a/b", b"", first=0x34) + b"\x62\2\0\7\xd0\0",
        b"\xe0\1\x8e",
    ],
    "matcher": [
        b"devices/a/b\ndevices/+/b\ndevices/#\n#",
        b"devices/a\ndevices/a/#\ndevices/+",
        b"$SYS/x\n#",
        b"spBv1.0/g/NDATA/n/d\nspBv1.0/+/+/n/#",
    ],
    "sparkplug": _sparkplug(),
    "announced": [json.dumps(each).encode() for each in _CONFIGS],
}
