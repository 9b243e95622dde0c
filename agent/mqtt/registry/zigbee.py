"""zigbee2mqtt: what its list of devices says about the messages of each. Pure."""

from collections.abc import Iterator
from typing import Any, cast

from agent.mqtt.registry.decoded import MAX_NAME_BYTES, Malformed, fitting_unit, size
from agent.mqtt.registry.readings import Reading, Sort
from agent.mqtt.rules.payload import decoded
from agent.mqtt.topics import MAX_TOPIC_BYTES, ZIGBEE_ROOT

LIST = f"{ZIGBEE_ROOT}/bridge/devices"
MAX_LIST_BYTES = 256 * 1024  # the broker's bound of a packet
MAX_READINGS = 4096

_SORTS = {"numeric": Sort.NUMBER, "binary": Sort.FLAG, "enum": Sort.TEXT, "text": Sort.TEXT}


def parse(payload: bytes) -> tuple[Reading, ...] | Malformed:
    """The readings of all devices in the retained list `zigbee2mqtt/bridge/devices`. Never raises."""
    if len(payload) > MAX_LIST_BYTES:
        return Malformed(f"a list of devices over {MAX_LIST_BYTES} bytes")
    try:
        document: Any = decoded(payload) if payload.strip() else []
    except ValueError:
        return Malformed("a list of devices that is no JSON")
    if not isinstance(document, list):
        return Malformed("a list of devices that is no JSON list")
    found: list[Reading] = []
    for device in cast("list[object]", document):
        for reading in _readings(device):
            if len(found) == MAX_READINGS:
                return tuple(found)
            found.append(reading)
    return tuple(found)


def _readings(device: object) -> Iterator[Reading]:
    if not isinstance(device, dict):
        return
    said = cast("dict[str, Any]", device)
    name, definition = said.get("friendly_name"), said.get("definition")
    if not isinstance(name, str) or not isinstance(definition, dict):
        return
    topic = f"{ZIGBEE_ROOT}/{name}"
    if size(topic) <= MAX_TOPIC_BYTES:
        yield from _exposed(topic, cast("dict[str, Any]", definition).get("exposes"), composed=False)


def _exposed(topic: str, exposes: Any, *, composed: bool) -> Iterator[Reading]:
    """A switch or a lamp has its readings one step further down; no more steps are taken."""
    if not isinstance(exposes, list):
        return
    for each in cast("list[object]", exposes):
        if not isinstance(each, dict):
            continue
        said = cast("dict[str, Any]", each)
        features = said.get("features")
        if features is not None and not composed and said.get("type") != "composite":
            yield from _exposed(topic, features, composed=True)
            continue
        name, sort, unit = said.get("property"), said.get("type"), said.get("unit")
        if not isinstance(name, str) or not isinstance(sort, str) or sort not in _SORTS or size(name) > MAX_NAME_BYTES:
            continue
        on, off = said.get("value_on", "ON"), said.get("value_off", "OFF")
        yield Reading(
            topic,
            name,
            fitting_unit(unit) if isinstance(unit, str) else "",
            _SORTS[sort],
            (name,),
            str(on)[:MAX_NAME_BYTES],
            str(off)[:MAX_NAME_BYTES],
        )
