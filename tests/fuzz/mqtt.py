"""What devices and hostile brokers may send, for what reads it first: a target raises only on a fault of ours."""

import struct
from collections.abc import Callable

from agent.errors import RefusedError
from agent.mqtt.registry import discovery, zigbee
from agent.mqtt.registry.decoded import MAX_VALUES, Decoded, Malformed
from agent.mqtt.registry.nodes import Nodes
from agent.mqtt.rules.compile import compile_rules
from agent.mqtt.topics import Kind, is_filter, matches, parse
from agent.mqtt.wire.codec import Control, Decoder
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.wire.fields import MalformedError
from agent.spec import DeviceRule

_NODES = Nodes(max_nodes=16, max_names=64)
_SPARKPLUG = [
    topic
    for kind in ("NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH")
    if (topic := parse(f"spBv1.0/plant/{kind}/node{'/arm' if kind[0] == 'D' else ''}")) is not None
]


def stream(data: bytes) -> None:
    """A broker's bytes: however they are cut, the same packets, or the one error."""
    whole, pieces = _decoded(data, len(data) or 1), _decoded(data, 1 + (data[0] if data else 0) % 7)
    assert whole == pieces


def _decoded(data: bytes, size: int) -> tuple[list[Delivery], list[Control], bool]:
    deliveries: list[Delivery] = []
    controls: list[Control] = []
    decoder, taken = Decoder(), 0
    try:
        for end in range(size, len(data) + size, size):
            while True:
                found: list[Delivery] = []
                more = decoder.feed(data[taken:end], found, controls)
                deliveries += found
                taken += more
                if not more:
                    break
    except MalformedError:
        return deliveries, controls, True
    return deliveries, controls, False


def matcher(data: bytes) -> None:
    """Filters and topics of any characters: the compiled rules find the one that the standard's words find."""
    first, *rest = data.decode(errors="replace").split("\n")
    filters = [each for each in dict.fromkeys(rest) if each]
    try:
        rules = compile_rules([DeviceRule(each) for each in filters])
    except RefusedError:
        return
    assert all(map(is_filter, filters))
    topic = first.replace("+", "").replace("#", "")
    if not topic:
        return
    levels = tuple(topic.split("/"))
    expected = next((each for each in filters if matches(tuple(each.split("/")), levels)), None)
    for _ in range(2):  # the second from its memory
        found = rules.find(topic)
        assert (found.spec.filter if found is not None else None) == expected
    where = parse(topic)
    assert where is None or (where.device and where.kind in Kind)


def sparkplug(data: bytes) -> None:
    """Payloads of edge nodes, births and deaths in any order: values within bounds, or a name for what is wrong."""
    for piece in data.split(b"\xff\xfe\xfd"):
        where = _SPARKPLUG[piece[0] % len(_SPARKPLUG) if piece else 0]
        _bounded(_NODES.take(where, piece[1:], redelivered=bool(len(piece) % 2)))


def announced(data: bytes) -> None:
    """Home Assistant's and Zigbee2MQTT's words about devices."""
    for found in (discovery.parse("homeassistant/sensor/a/b/config", data), zigbee.parse(data)):
        assert isinstance(found, Malformed | tuple)


def _bounded(found: Decoded) -> None:
    assert found.values is not None or found.why
    assert len(found.values or ()) <= MAX_VALUES
    for value in found.values or ():
        assert 1 <= len(value.name.encode()) <= 128 and len(value.unit.encode()) <= 32
        assert not isinstance(value.value, str) or len(value.value.encode()) <= 512
        if isinstance(value.value, float):
            struct.pack("<d", value.value)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "stream": stream, "matcher": matcher, "sparkplug": sparkplug, "announced": announced,
}  # fmt: skip
