"""Tables of a file that people write: which keys they take, and what is wrong with one that doesn't fit. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from central.cli.checks import Check
from central.cli.words import near


@dataclass(frozen=True, slots=True)
class Field:
    check: Check
    required: bool = False


def table(fields: Mapping[str, Field]) -> Check:
    def check(value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"a table with {', '.join(fields)}")  # noqa: TRY004 - every check says no in one way
        return _members(cast("dict[str, object]", value), fields)

    return check


def array(each: Check, most: int, example: str) -> Check:
    """A list of at most `most` members; one that is wrong is told by its place."""

    def check(value: object) -> list[Any]:
        if not isinstance(value, list) or len(cast("list[object]", value)) > most:
            raise ValueError(f"a list of at most {most}, e.g. {example}")
        return [named(f"{place}.", each, member) for place, member in enumerate(cast("list[object]", value), 1)]

    return check


def named(name: str, check: Check, value: object) -> Any:
    """What `check` makes of the value; its refusal begins with the name."""
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}" if not name.endswith(".") else f"{name} {error}") from error


def unknown(name: str, allowed: list[str]) -> ValueError:
    return ValueError(f"unknown key {name!r}; {near(name, allowed)}allowed are {', '.join(allowed)}")


def _members(values: Mapping[str, object], fields: Mapping[str, Field]) -> dict[str, Any]:
    strange = set(values) - set(fields)
    if strange:
        raise unknown(min(strange), list(fields))
    missing = [name for name, field in fields.items() if field.required and name not in values]
    if missing:
        raise ValueError(f"{missing[0]}: is missing")
    return {name: named(name, fields[name].check, value) for name, value in values.items()}
