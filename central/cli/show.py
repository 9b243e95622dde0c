"""How answers look: rich tables for people, one JSON document for programs."""

import base64
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_COLUMNS = 160  # rich takes 80 for what is no terminal


def document(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A cell of rich's Text keeps its style; anything else is shown as its str. A column "#x" holds numbers."""
    grid = Table(title=title, title_justify="left", header_style="bold", show_edge=False, pad_edge=False)
    for column in columns:
        numeric, time = column.startswith("#"), column.endswith("(UTC)")
        grid.add_column(
            column.lstrip("#"), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric or time
        )
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    console.print(grid)


def facts(title: str, values: Mapping[str, object]) -> None:
    table(title, ("what", "value"), values.items())


def moment(unix_nano: int) -> str:
    if unix_nano == 0:
        return "-"
    return f"{datetime.fromtimestamp(unix_nano / 1e9, UTC):%Y-%m-%d %H:%M:%S}"


def identity(spiffe_id: str) -> str:
    """Short form for a table: operator/admin, store/berlin-1/node/edge-1; what is no SPIFFE id stays as it is."""
    return spiffe_id.split("/", 3)[-1] if spiffe_id.startswith("spiffe://") else spiffe_id


def size(count: int) -> str:
    number = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def good(word: str, *, well: bool) -> Text:
    return Text(word, style="green" if well else "red")


def text(data: bytes) -> str:
    """Bytes for a person: UTF-8 if it is, with what a terminal might obey made visible."""
    return "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in data.decode(errors="replace"))


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON: every field by its name, numbers as numbers, enums by name.

    Bytes that are UTF-8 become text, and stand as base64 in <name>_base64 in any case.
    """
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.type == FieldDescriptor.TYPE_BYTES and not field.is_repeated:
            found[field.name] = _utf8(value)
            found[f"{field.name}_base64"] = base64.b64encode(value).decode()
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            found[field.name] = dict(value)
        elif field.is_repeated:
            found[field.name] = [_scalar(field, member) for member in value]
        else:
            found[field.name] = _scalar(field, value)
    return found


def _utf8(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _scalar(field: Any, value: Any) -> Any:
    if isinstance(value, Message):
        return plain(value)
    if field.type == FieldDescriptor.TYPE_ENUM:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    return value


def word(enum: str) -> str:
    """Last words of an enum's name: JOB_STATE_BACKING_OFF -> backing-off."""
    return enum.lower().replace("_", "-")
