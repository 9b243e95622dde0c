"""What a decoder has made of a message, and the bounds of a named value. Pure."""

import math
from typing import NamedTuple

from agent.model import DeviceValue

# Those of storeedge.v1.DeviceValue and DeviceMessage.
MAX_VALUES = 64
MAX_NAME_BYTES = 128
MAX_UNIT_BYTES = 32
MAX_TEXT_BYTES = 512
_INTEGERS = 1 << 63
_NANO_PER_MILLI = 1_000_000
_LAST_MILLI = ((1 << 64) - 1) // _NANO_PER_MILLI


class Malformed(NamedTuple):
    """`why` names what is wrong, and quotes nothing of the payload: it may be told where the payload may not be."""

    why: str


class Decoded(NamedTuple):
    """`values` None: what a decoder should have known, and could make nothing of.

    `why` is what was wrong, also with a message that has values: a gap before it. `present` are devices that the
    message says are there or gone.
    """

    values: tuple[DeviceValue, ...] | None = ()
    why: str = ""
    present: tuple[tuple[str, bool], ...] = ()


PLAIN = Decoded()
"""Of a message that no decoder is for."""


def named(name: str, value: float | int | bool | str | None, unit: str = "", time_milli: int = 0) -> DeviceValue | None:
    """None when it doesn't fit, or is no value: nothing is cut. An integer that 64 bits can't hold becomes a float."""
    if not name or value is None or size(name) > MAX_NAME_BYTES:
        return None
    if isinstance(value, str):
        if size(value) > MAX_TEXT_BYTES:
            return None
    elif isinstance(value, float):
        if not math.isfinite(value):
            return None
    elif not -_INTEGERS <= value < _INTEGERS:
        try:
            value = float(value)
        except OverflowError:
            return None
    return DeviceValue(name, value, fitting_unit(unit), time_milli * _NANO_PER_MILLI if time_milli < _LAST_MILLI else 0)


def fitting_unit(unit: str) -> str:
    """Empty when it is too long."""
    return unit if size(unit) <= MAX_UNIT_BYTES else ""


def size(text: str) -> int:
    """Bytes as UTF-8. Half a surrogate pair, which JSON can bring, makes it too long for anything."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 1 << 30
