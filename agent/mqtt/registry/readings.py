"""Readings that were announced: where in which message they stand, and what they become. Pure."""

import math
from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple, cast

from agent.model import DeviceValue
from agent.mqtt.registry.decoded import MAX_VALUES, named
from agent.mqtt.rules.payload import decoded

Path = tuple[str | int, ...]


class Sort(Enum):
    """What a reading becomes. NUMBER_OR_TEXT: a number if it reads as one."""

    FLAG = "flag"
    NUMBER = "number"
    NUMBER_OR_TEXT = "number or text"
    TEXT = "text"


class Reading(NamedTuple):
    """`path` leads to it in a JSON payload; None: it is the whole payload. `on` and `off` are words for a flag."""

    topic: str
    name: str
    unit: str
    sort: Sort
    path: Path | None
    on: str = "ON"
    off: str = "OFF"


def read(readings: Iterable[Reading], payload: bytes) -> tuple[DeviceValue, ...]:
    """At most 64; those that aren't there, or don't read as what was announced, are left out. Never raises."""
    found: dict[str, DeviceValue] = {}
    document: Any = None
    parsed = False
    for reading in readings:
        if len(found) == MAX_VALUES:
            break
        if reading.path is None:
            raw: Any = payload.decode(errors="replace").strip()
        else:
            if not parsed:
                document, parsed = _json(payload), True
            raw = _at(document, reading.path)
        value = named(reading.name, _become(reading, raw), reading.unit)
        if value is not None:
            found[value.name] = value
    return tuple(found.values())


def scalars(payload: bytes, known: Iterable[Reading] = ()) -> tuple[DeviceValue, ...]:
    """All members of a JSON object that are numbers, flags or text, with the units that are known. Never raises."""
    document = _json(payload)
    if not isinstance(document, dict):
        return ()
    found = {value.name: value for value in read(known, payload)}
    for name, raw in cast("dict[str, Any]", document).items():
        if len(found) == MAX_VALUES:
            break
        value = named(name, raw) if isinstance(raw, int | float | str) and name not in found else None
        if value is not None:
            found[name] = value
    return tuple(found.values())


def _json(payload: bytes) -> Any:
    try:
        return decoded(payload)
    except ValueError:
        return None


def _at(document: Any, path: Path) -> Any:
    for step in path:
        if isinstance(document, dict) and isinstance(step, str):
            document = cast("dict[str, Any]", document).get(step)
        elif isinstance(document, list) and isinstance(step, int) and step < len(cast("list[object]", document)):
            document = cast("list[object]", document)[step]
        else:
            return None
    return document


def _become(reading: Reading, raw: Any) -> float | int | bool | str | None:
    if not isinstance(raw, int | float | str):
        return None
    match reading.sort:
        case Sort.FLAG:
            return _flag(raw, reading)
        case Sort.TEXT:
            return raw if isinstance(raw, str) else str(raw)
        case Sort.NUMBER:
            return _number(raw)
        case Sort.NUMBER_OR_TEXT:
            number = _number(raw)
            return raw if number is None else number


def _flag(raw: float | int | str, reading: Reading) -> bool | None:
    """A JSON true stays true, whatever the config calls on: else it would have the payload's name and say the contrary.

    A word that is neither says nothing.
    """
    if isinstance(raw, bool):
        return raw
    word = str(raw).lower()
    return word == reading.on.lower() if word in {reading.on.lower(), reading.off.lower()} else None


def _number(raw: float | int | str) -> float | int | None:
    if isinstance(raw, bool):
        return None
    if not isinstance(raw, str):
        return raw
    try:
        # int() and float() read "1_000" and " 1", which no device means; an int of thousands of digits takes long.
        if len(raw) > 32 or "_" in raw:
            return None
        return int(raw) if raw.lstrip("+-").isdecimal() else _finite(float(raw))
    except ValueError:
        return None


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
