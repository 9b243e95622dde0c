"""JSON payloads: a number at a dotted name, and names taken out. Pure."""

import json
import math
from collections.abc import Sequence
from typing import Any, cast

# Of storeedge.v1.DeviceMessage: what is written anew can be longer than it was (1e22 is 1e+22).
MAX_PAYLOAD_BYTES = 128 * 1024

Path = tuple[str, ...]


def decoded(payload: bytes) -> Any:
    """What the JSON text says. Raises ValueError when it is none, also for NaN and for what nests without end."""
    try:
        return json.loads(payload.decode(), parse_constant=_no_constant)
    except RecursionError as why:
        raise ValueError("nests too deep") from why


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def number_at(document: Any, path: Path) -> float | None:
    """The number at `path`; () is the document itself. None when there is none that a float can hold; true is none."""
    for name in path:
        if not isinstance(document, dict):
            return None
        document = cast("dict[str, Any]", document).get(name)
    if isinstance(document, bool) or not isinstance(document, int | float):
        return None
    try:
        number = float(document)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def without(document: Any, paths: Sequence[Path]) -> bytes | None:
    """The JSON object without what is at `paths`, also in objects of lists; None when there is no such object to send.

    A key that has dots in it is found too: what was meant must not stay because of how a device writes it.
    """
    if not isinstance(document, dict):
        return None
    try:
        for path in paths:
            _take_out(document, path)
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        written = text.encode(errors="backslashreplace")  # half a surrogate pair, as JSON writes it too
    except (RecursionError, ValueError):  # 1e400 is a number of JSON, and none of ours
        return None
    return written if len(written) <= MAX_PAYLOAD_BYTES else None


def _take_out(node: Any, path: Path) -> None:
    if isinstance(node, list):
        for each in cast("list[object]", node):
            _take_out(each, path)
    elif isinstance(node, dict):
        members = cast("dict[str, Any]", node)
        members.pop(".".join(path), None)
        for upto in range(1, len(path)):
            below = members.get(".".join(path[:upto]))
            if below is not None:
                _take_out(below, path[upto:])
