"""Rules that people on site write: /etc/edge-agent/rules.toml, in the words of `[[rule]]` of `edgectl apply`.

Read in the daemon at start and at each reload, and by `edge-agent rules`. A mistake is told with file and line.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import tomli

from agent.errors import ConfigError
from agent.mqtt.rules.words import (
    MAX_PAYLOAD_BYTES,
    MAX_PER_MINUTE,
    MAX_RULES,
    MAX_SAMPLE_EVERY,
    MAX_SECONDS,
    wrong,
)
from agent.spec import DeadBand, DeviceRule, Residency

_MAX_FILE_BYTES = 1 << 20
_HEADER = re.compile(r"\s*\[\[\s*rule\s*\]\]")
_SIZE = re.compile(r"(\d{1,9})(B|KiB|MiB)")
_DURATION = re.compile(r"(\d{1,9})([smhd])")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# DeviceRule's name of a field, where it is another than the key's.
_KEYS = {"max_payload_bytes": "max_payload", "latest_seconds": "latest", "batch_seconds": "batch"}


def read(path: Path) -> str:
    """The file's text; no file is an empty one, and no rules. Raises ConfigError when it can't be read."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigError(f"{path}: is over {_MAX_FILE_BYTES} bytes")
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as why:
        raise ConfigError(f"{path}: is not UTF-8 at byte {why.start}") from None
    except OSError as why:
        raise ConfigError(f"{path}: can't be read: {why.strerror}") from None


def parse(text: str, name: str) -> tuple[DeviceRule, ...]:
    """The rules of a text; `name` is the file's name in errors.

    Raises ConfigError, one line for each rule that is wrong: then none of them holds.
    """
    try:
        tables = tomli.loads(text)
    except tomli.TOMLDecodeError as why:
        raise ConfigError(f"{name}:{why.lineno}: {why.msg}, at column {why.colno}") from None
    except (ValueError, RecursionError) as why:
        raise ConfigError(f"{name}: is not TOML: {why}") from None
    rows = tables.pop("rule", [])
    if tables:
        raise ConfigError(f"{name}: {min(tables)!r}: unknown; allowed: [[rule]]")
    if not isinstance(rows, list) or len(cast("list[object]", rows)) > MAX_RULES:
        raise ConfigError(f"{name}: rule: written in double brackets, [[rule]], at most {MAX_RULES} of them")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if _HEADER.match(line)]
    rules: list[DeviceRule] = []
    problems: list[str] = []
    for index, row in enumerate(cast("list[object]", rows)):
        where = f"{name}:{lines[index]}" if len(lines) == len(cast("list[object]", rows)) else name
        try:
            rules.append(_rule(row))
        except ValueError as why:
            problems.append(_printable(f"{where}: [[rule]] {index + 1}{_label(row)}: {why}"))
    if problems:
        raise ConfigError("\n".join(problems))
    return tuple(rules)


def _rule(row: object) -> DeviceRule:
    """Raises ValueError with key and what it takes."""
    if not isinstance(row, dict):
        raise ValueError(f"a table with {', '.join(_READ)}")  # noqa: TRY004  every check says no in one way
    values = cast("dict[str, object]", row)
    strange = set(values) - set(_READ)
    if strange:
        raise ValueError(f"unknown key {min(strange)!r}; allowed are {', '.join(_READ)}")
    if "filter" not in values:
        raise ValueError("filter: is missing")
    fields: dict[str, Any] = {}
    for key, value in values.items():
        field, read = _READ[key]
        try:
            fields[field] = read(value)
        except ValueError as why:
            raise ValueError(f"{key}: {why}") from None
    rule = DeviceRule(**fields)
    found = wrong(rule)
    if found is not None:
        raise ValueError(f"{_KEYS.get(found.field, found.field)}: {found.takes}")
    return rule


def _label(row: object) -> str:
    text = cast("dict[str, object]", row).get("filter") if isinstance(row, dict) else None
    return f" ({text[:64]})" if isinstance(text, str) else ""


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# --- values --------------------------------------------------------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"text, not {value!r}")  # noqa: TRY004  every check says no in one way
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"true or false, not {value!r}")  # noqa: TRY004  every check says no in one way
    return value


def _residency(value: object) -> Residency:
    if not isinstance(value, str) or value not in list(Residency):
        raise ValueError(f"one of {', '.join(Residency)}, not {value!r}")
    return Residency(value)


def _within(low: int, high: int, value: object, allowed: str) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{allowed} {low}..{high}, not {value!r}")
    return value


def _count(low: int, high: int) -> Callable[[object], int]:
    return lambda value: _within(low, high, value, "a number in")


def _amount(pattern: "re.Pattern[str]", units: Mapping[str, int], most: int, allowed: str) -> Callable[[object], int]:
    def read(value: object) -> int:
        found = pattern.fullmatch(value) if isinstance(value, str) else None
        if isinstance(value, str) and found is None:
            raise ValueError(f"{allowed}, not {value!r}")
        return _within(1, most, int(found[1]) * units[found[2]] if found else value, f"{allowed},")

    return read


def _band(value: object) -> DeadBand:
    members = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    delta, field = members.get("delta"), members.get("field", "")
    known = set(members) <= {"field", "delta"} and isinstance(field, str)
    if not known or isinstance(delta, bool) or not isinstance(delta, int | float):
        raise ValueError(f'a table like {{ field = "celsius", delta = 0.5 }}, not {value!r}')
    return DeadBand(cast("str", field), float(delta))


def _names(value: object) -> tuple[str, ...]:
    names = cast("list[object]", value) if isinstance(value, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError('a list of names, e.g. ["patient.name"]')
    return tuple(cast("list[str]", names))


_seconds = _amount(_DURATION, _SECONDS, MAX_SECONDS, 'seconds, or "10m" and the like (s, m, h, d)')
# Key -> DeviceRule's field and how it is read.
_READ: dict[str, tuple[str, Callable[[object], Any]]] = {
    "filter": ("filter", _text),
    "forward": ("forward", _boolean),
    "residency": ("residency", _residency),
    "priority": ("priority", _count(0, 9)),
    "max_payload": (
        "max_payload_bytes",
        _amount(_SIZE, _BYTES, MAX_PAYLOAD_BYTES, 'bytes, or "64KiB" and the like (B, KiB, MiB)'),
    ),
    "dead_band": ("dead_band", _band),
    "sample_every": ("sample_every", _count(1, MAX_SAMPLE_EVERY)),
    "max_per_minute": ("max_per_minute", _count(1, MAX_PER_MINUTE)),
    "redact": ("redact", _names),
    "latest": ("latest_seconds", _seconds),
    "batch": ("batch_seconds", _seconds),
    "undecoded": ("undecoded", _boolean),
}
