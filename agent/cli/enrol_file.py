"""edge-agent-enrol.toml: what a technician puts on the boot partition or a stick, so that a box enrols by itself. Pure.

    central = "central.example:8444"   # its enrolment port
    token = "set1...."                 # from `edgectl token create`
    store = "berlin-12"                # may be left out, as the next: the token must then be for this store and node
    node = "edge-1"
    ca = "9f86d081..."                 # may be left out: the token must then be of the central with this root (SHA-256)

It carries no configuration: whoever holds a stick may say which central an empty box belongs to, and nothing else.
"""

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli

from agent.config import address
from agent.errors import ConfigError, RefusedError
from agent.identity import token as tokens

MAX_BYTES = 16384
NAME = "edge-agent-enrol.toml"

_TAKES = {
    "central": "HOST:PORT of central's enrolment port",
    "token": "what `edgectl token create` printed, whole",
    "store": "the store's name, or leave it out",
    "node": "the node's name, or leave it out",
    "ca": "SHA-256 of central's root certificate, 64 hexadecimal digits, or leave it out",
}


@dataclass(frozen=True, slots=True)
class Wish:
    central: str
    token: str = field(repr=False)


def parse(data: bytes, name: str) -> Wish:
    """Raises ConfigError, a line for each mistake: FILE: key: reason; what it takes. The token is never quoted."""
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{name}: is larger than {MAX_BYTES} bytes; is it the right file?")
    try:
        table = tomli.loads(data.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is not UTF-8 at byte {error.start}; save it as plain text") from None
    except tomli.TOMLDecodeError as error:
        raise ConfigError(
            f'{name}:{error.lineno}: {error.msg}, at column {error.colno}; lines are key = "text"'
        ) from None
    except (ValueError, RecursionError):
        raise ConfigError(f'{name}: is not TOML; lines are key = "text"') from None
    problems = [*_shape(table)] or [*_meaning(table)]
    if problems:
        raise ConfigError("\n".join(_printable(f"{name}: {problem}") for problem in problems))
    return Wish(table["central"], table["token"])


def read(path: Path) -> bytes:
    """Of a regular file, at most one byte more than is allowed. Raises ConfigError."""
    try:
        if path.is_symlink() or not path.is_file():
            raise ConfigError(f"{path}: is no regular file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None


def _shape(table: dict[str, Any]) -> list[str]:
    problems: list[str] = []
    for key, value in table.items():
        if key not in _TAKES:
            close = difflib.get_close_matches(key, _TAKES, n=1)
            meant = f", did you mean {close[0]}?" if close else ""
            problems.append(f"{key[:60]}: unknown key{meant}; allowed: {', '.join(_TAKES)}")
        elif not isinstance(value, str):
            problems.append(f"{key}: is no text in quotes; it takes {_TAKES[key]}")
    problems += [f"{key}: is missing; it takes {_TAKES[key]}" for key in ("central", "token") if key not in table]
    return problems


def _meaning(table: dict[str, str]) -> list[str]:
    problems: list[str] = []
    try:
        address.split(table["central"])
    except ValueError as error:
        problems.append(f"central: {str(error)[:200]}; it takes {_TAKES['central']}")
    try:
        known = tokens.parse(table["token"])
    except RefusedError as error:
        return [*problems, f"token: {error}; it takes {_TAKES['token']}"]
    for key, found in (("store", known.node.store), ("node", known.node.node)):
        wanted = table.get(key, found)
        if wanted != found:
            problems.append(f"{key}: is {wanted[:60]!r}, but the token is for {found!r}: is this file for another box?")
    wanted = re.sub(r"[:\s]", "", table.get("ca", known.fingerprint)).lower()
    if wanted != known.fingerprint:
        problems.append("ca: is not that of the central that made the token: ask for both anew")
    return problems


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
