"""One bound of one field of what central sends: held, or refused by name. Pure."""

from collections.abc import Iterable
from typing import TypeVar

from agent.errors import RefusedError

T = TypeVar("T")


def check(ok: bool, field: str, allowed: str) -> None:
    """Raises RefusedError(BAD_REQUEST) that names the field and what it takes, unless `ok`."""
    if not ok:
        raise RefusedError("BAD_REQUEST", f"{field}: {allowed}")


def bounded(value: int, low: int, high: int, field: str, unit: str = "") -> int:
    """`value`, if it lies within. Raises as `check` does."""
    check(low <= value <= high, field, f"{low}..{high}{unit}, not {value}")
    return value


def unique(values: Iterable[T], field: str) -> None:
    """Raises as `check` does, and names the one that comes twice."""
    seen: set[T] = set()
    for value in values:
        check(value not in seen, field, f"{value} comes twice")
        seen.add(value)


def words(values: Iterable[str], most_bytes: int, field: str) -> tuple[str, ...]:
    """An argv of at most 64 words; may be empty. Raises as `check` does."""
    found = tuple(values)
    check(len(found) <= 64 and bool(not found or found[0]), field, "at most 64 words, the first not empty")
    check(sum(len(word.encode()) for word in found) <= most_bytes, field, f"at most {most_bytes} bytes together")
    check(all("\0" not in word for word in found), field, "no NUL")
    return found
