"""Reads agent.toml into the frozen sections of schema.py. A broken file stops the start; it is never patched up.

Every problem of a file is reported at once, one line each: `FILE:LINE: [section] key: reason; allowed: ...`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import tomli

from agent.config import address
from agent.config.schema import Config, allowed_text
from agent.errors import ConfigError

_TAKES: dict[type, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    Path: "an absolute path",
}
_HEADER = re.compile(r"\s*\[\s*(?P<name>[^\[\]]+?)\s*\]\s*(#.*)?")
_KEY = re.compile(r"\s*(?P<name>\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+)\s*(=|\.\s*(?P<sub>[A-Za-z0-9_-]+)\s*=)")


@dataclass(frozen=True, slots=True)
class _Problem:
    section: str
    key: str
    reason: str
    allowed: str


def load(path: Path) -> Config:
    """The configuration in `path`; tables and keys that are left out have production's defaults.

    Raises ConfigError, one line for each problem.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; name one with --config, an empty file takes all defaults") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Config:
    """As `load`, of a text; `name` is the file's name in errors."""
    try:
        tables = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigError(_printable(f"{name}:{error.lineno}: {error.msg}, at column {error.colno}")) from None
    except (ValueError, RecursionError) as error:  # a number of more than 4300 digits; brackets nested without end
        raise ConfigError(_printable(f"{name}: is not TOML: {error}")) from None
    problems: list[_Problem] = []
    config = _build(tables, problems)
    problems += _across(config, {(p.section, p.key) for p in problems})
    if problems:
        lines = _lines(text)
        located = [(lines.get((p.section, p.key)) or lines.get((p.section, "")), p) for p in problems]
        located.sort(key=lambda pair: pair[0] or 0)
        raise ConfigError("\n".join(_printable(_sentence(name, line, problem)) for line, problem in located))
    return config


def _build(tables: Mapping[str, Any], problems: list[_Problem]) -> Config:
    sections: dict[str, Any] = get_type_hints(Config)
    built: dict[str, Any] = {}
    for section, table in tables.items():
        if section not in sections:
            problems.append(_Problem(section, "", f"unknown table{_meant(section, sections)}", ", ".join(sections)))
        elif not isinstance(table, dict):
            problems.append(_Problem(section, "", f"is {_kind(table)}", "a table"))
        else:
            built[section] = _section(section, table, sections[section], problems)  # pyright: ignore[reportUnknownArgumentType] # a TOML table
    return Config(**built)


def _section(section: str, table: Mapping[str, Any], schema: Any, problems: list[_Problem]) -> Any:
    specs: dict[str, Field[Any]] = {spec.name: spec for spec in fields(schema)}
    hints = get_type_hints(schema)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in specs:
            problems.append(_Problem(section, key, f"unknown key{_meant(key, specs)}", ", ".join(specs)))
            continue
        reason = _wrong(value, hints[key], specs[key])
        if reason:
            problems.append(_Problem(section, key, reason, _takes(hints[key], specs[key])))
        else:
            values[key] = _converted(value, hints[key])
    return schema(**values)


def _across(config: Config, wrong: set[tuple[str, str]]) -> Iterator[_Problem]:
    """What no field can say alone; silent where one of the fields is already reported."""
    base, most = config.link.backoff_base_seconds, config.link.backoff_max_seconds
    if base > most and not wrong & {("link", "backoff_base_seconds"), ("link", "backoff_max_seconds")}:
        reason = f"is {base}, more than backoff_max_seconds ({most})"
        yield _Problem("link", "backoff_base_seconds", reason, "at most backoff_max_seconds")
    limit, cool = config.heat.limit_celsius, config.heat.cool_celsius
    if limit and cool >= limit and not wrong & {("heat", "limit_celsius"), ("heat", "cool_celsius")}:
        reason = f"is {cool}, not below limit_celsius ({limit})"
        yield _Problem("heat", "cool_celsius", reason, "less than limit_celsius")
    for section, listen in (("api", config.api.listen), ("gateway", config.gateway.listen)):
        if listen:
            try:
                address.split(listen)
            except ValueError as error:
                yield _Problem(section, "listen", str(error), "HOST:PORT, or empty for no port")
    if not config.mqtt.host:
        yield _Problem("mqtt", "host", "is empty", "a string of at least one character")


def _shape(hint: Any) -> tuple[type, bool]:
    """The scalar type within a field's type, and whether the field is a list of it."""
    inner = [arg for arg in get_args(hint) if arg not in (Ellipsis, type(None))]
    return (inner[0] if inner else hint), getattr(hint, "__origin__", None) is tuple


def _wrong(value: Any, hint: Any, spec: "Field[Any]") -> str:
    """Why `value` can't be in this field; empty when it can."""
    scalar, many = _shape(hint)
    if many != isinstance(value, list):
        return f"is {_kind(value)}"
    values: list[Any] = value if many else [value]
    for item in values:
        if not _is(item, scalar):
            return f"has {_kind(item)} in it" if many else f"is {_kind(item)}"
        if scalar is Path and (not item.startswith("/") or "\0" in item):
            return f"is {_quoted(item)}"
        low, high = spec.metadata.get("low"), spec.metadata.get("high")
        if low is not None and not low <= item <= high:  # written so that nan is out of range
            return f"is {_quoted(item)}, out of range"
        if item not in spec.metadata.get("allowed", (item,)):
            return f"is {_quoted(item)}{_meant(item, spec.metadata['allowed'])}"
    return ""


def _is(item: Any, scalar: type) -> bool:
    """Whether a TOML value is of this type; true and false are no integers, an integer is a number."""
    written = {float: (int, float), Path: (str,)}.get(scalar, (scalar,))
    return isinstance(item, written) and isinstance(item, bool) == (scalar is bool)


def _converted(value: Any, hint: Any) -> Any:
    scalar, many = _shape(hint)
    return tuple(scalar(item) for item in value) if many else scalar(value)


def _takes(hint: Any, spec: "Field[Any]") -> str:
    scalar, many = _shape(hint)
    words = allowed_text(spec)
    if "allowed" in spec.metadata:
        return words
    return " ".join(filter(None, ["a list, each" if many else "", _TAKES[scalar], words]))


def _kind(value: Any) -> str:
    names: tuple[tuple[type, str], ...] = (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a number with a fraction"),
        (str, "a string"),
        (list, "a list"),
        (dict, "a table"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "a date or time")


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _meant(word: str, known: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415  only a mistake pays for it

    close = difflib.get_close_matches(word, list(known), n=1) or difflib.get_close_matches(word.upper(), known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _sentence(name: str, line: int | None, problem: _Problem) -> str:
    where = f"{name}:{line}" if line else name
    what = f"[{problem.section}] {problem.key}".rstrip()
    return f"{where}: {what}: {problem.reason}; allowed: {problem.allowed}"


def _printable(text: str) -> str:
    """Keeps a message on its line, whatever characters a key is made of."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Line of each table header (key "") and key.

    A small scan, for line numbers only: a multi-line string may fool it.
    """
    found: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            section = header["name"].strip("\"'")
            found.setdefault((section, ""), number)
        elif key := _KEY.match(line):
            name, sub = key["name"].strip("\"'"), key["sub"]
            if section:
                found.setdefault((section, name), number)
            else:
                found.setdefault((name, sub or ""), number)
                found.setdefault((name, ""), number)
    return found
