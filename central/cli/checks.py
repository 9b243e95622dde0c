"""Values in a file that people write: each check gives the value as it is wanted, or says what is allowed. Pure."""

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

KIB = 1 << 10
_SIZE = re.compile(r"(\d{1,9})(B|KiB|MiB|GiB|TiB)")
_DURATION = re.compile(r"(\d{1,9})([smhd])")
_BYTES = {"B": 1, "KiB": KIB, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Check = Callable[[Any], Any]  # raises ValueError with what is allowed


def seconds_in(value: object, low: int, high: int) -> int:
    """Seconds from "90s", "10m", "2h", "1d" or a number of seconds. Raises ValueError."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = int(found[1]) * _SECONDS[found[2]] if found else value
    if type(seconds) is not int or not low <= seconds <= high:
        raise ValueError(f'seconds, or "10m" and the like (s, m, h, d), {low}..{high} s, not {value!r}')
    return seconds


def duration(low: int, high: int) -> Check:
    return lambda value: seconds_in(value, low, high)


def size(low: int, high: int) -> Check:
    def check(value: object) -> int:
        found = _SIZE.fullmatch(value) if isinstance(value, str) else None
        number = int(found[1]) * _BYTES[found[2]] if found else value
        if type(number) is not int or not low <= number <= high:
            raise ValueError(
                f'bytes, or "64MiB" and the like (B, KiB, MiB, GiB, TiB), {low}..{high} bytes, not {value!r}'
            )
        return number

    return check


def count(low: int, high: int) -> Check:
    def check(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"a number in {low}..{high}, not {value!r}")
        return value

    return check


def text(pattern: str, allowed: str) -> Check:
    def check(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"{allowed}, not {value!r}")
        return value

    return check


def choice(allowed: Mapping[str, int]) -> Check:
    def check(value: object) -> int:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}, not {value!r}")
        return allowed[value]

    return check


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"true or false, not {value!r}")  # noqa: TRY004 - every check says no in one way
    return value


def display_name(value: object) -> str:
    if not isinstance(value, str) or len(value.encode()) > 128:
        raise ValueError("at most 128 bytes of text")
    return value


def command(value: object) -> list[str]:
    words = cast("list[object]", value) if isinstance(value, list) else []
    if not 1 <= len(words) <= 64 or not all(isinstance(word, str) and "\0" not in word for word in words):
        raise ValueError('a list of 1..64 strings, e.g. ["sh", "-c", "echo hello"]')
    found = cast("list[str]", words)
    if not found[0] or sum(len(word.encode()) for word in found) > 16 * KIB:
        raise ValueError("a first word, and at most 16384 bytes together")
    return found


def environment(value: object) -> dict[str, str]:
    pairs = cast("dict[str, object]", value) if isinstance(value, dict) else None
    if pairs is None or len(pairs) > 64 or not all(isinstance(v, str) and "\0" not in v for v in pairs.values()):
        raise ValueError('a table of at most 64 strings, e.g. {LANG = "C.UTF-8"}')
    wrong = next((name for name in pairs if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)), None)
    if wrong is not None:
        raise ValueError(f"names of [A-Za-z0-9_], not {wrong!r}")
    found = cast("dict[str, str]", pairs)
    if sum(len(name.encode()) + len(content.encode()) for name, content in found.items()) > 16 * KIB:
        raise ValueError("at most 16384 bytes together")
    return found
