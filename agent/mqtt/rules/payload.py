"""JSON payloads: a number at a dotted name, and names taken out. Pure."""

import json
import math
from collections.abc import Sequence
from typing import Any, cast

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
    """The JSON object without what is at `paths`, also in objects of lists; None when it is no JSON object.

    A key that has dots in it is found too: what was meant must not stay because of how a device writes it.
    """
    if not isinstance(document, dict):
        return None
    for path in paths:
        _take_out(document, path)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")


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
