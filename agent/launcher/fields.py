"""Fields of a JSON object: taken, or refused by name. Pure, standard library only."""

import re
from collections.abc import Mapping
from typing import Any, cast

from agent.launcher.protocol import LauncherError


def refuse(name: str, allowed: str) -> LauncherError:
    """What was said is not repeated: it may be a secret."""
    return LauncherError("bad-request", f"{name}: {allowed}", name)


def table(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise refuse(name, "an object")
    return cast("dict[str, Any]", value)


def listed(value: object, name: str, most: int) -> list[object]:
    if not isinstance(value, list) or len(cast("list[object]", value)) > most:
        raise refuse(name, f"a list of at most {most}")
    return cast("list[object]", value)


def only(raw: Mapping[str, Any], known: tuple[str, ...], name: str = "") -> None:
    """`name` is the field that `raw` is the value of; empty for a whole request."""
    unknown = min(set(raw) - set(known), default=None)
    if unknown is not None:
        raise LauncherError("bad-request", f"unknown field {f'{name}.' * bool(name)}{unknown[:80]}", name or unknown)


def text(raw: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise refuse(name, f"a string matching {pattern.pattern}")
    return value


def number(raw: Mapping[str, Any], name: str, low: int, high: int, default: int | None = None) -> int:
    """`default` is allowed too, and is what a field stands for that isn't there."""
    value = raw.get(name, default)
    if type(value) is not int or (not low <= value <= high and value != default):
        raise refuse(name, f"an integer in {low}..{high}" + (" or 0" if default == 0 else ""))
    return value


def boolean(raw: Mapping[str, Any], name: str) -> bool:
    """False when it isn't there."""
    value = raw.get(name, False)
    if not isinstance(value, bool):
        raise refuse(name, "true or false")
    return value


def plain(word: str) -> bool:
    """Can be an argument or a variable: no NUL, no lone surrogate (JSON can say both)."""
    return "\0" not in word and not any("\ud800" <= letter <= "\udfff" for letter in word)


def words(value: object, name: str, most_bytes: int) -> tuple[str, ...]:
    """A command line, perhaps of no word: at most 64, `most_bytes` together; the first isn't empty."""
    found: list[str] = []
    for word in listed(value, name, 64):
        if not isinstance(word, str) or not plain(word):
            raise refuse(name, "strings of Unicode without NUL")
        found.append(word)
    if found[:1] == [""] or sum(len(word.encode()) for word in found) > most_bytes:
        raise refuse(name, f"a first word, and at most {most_bytes} bytes together")
    return tuple(found)
