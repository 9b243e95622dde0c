"""The one-time token an operator hands to a box. Pure.

Text: "set1." + base64url without padding of the JSON object
{"i": token id, "s": secret, "f": SHA-256 of the root certificate's DER in hex, "n": "store/node", "d": trust domain}.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Any

from agent.errors import RefusedError
from agent.identity import spiffe
from agent.identity.spiffe import NodeId

_PREFIX = "set1."
_LONGEST = 2048


@dataclass(frozen=True, slots=True)
class Token:
    id: str
    secret: str = field(repr=False)
    fingerprint: str  # SHA-256 of the root certificate's DER, hex
    node: NodeId


def parse(text: str) -> Token:
    """Raises RefusedError(BAD_REQUEST); its text never quotes the token, which is a secret."""
    text = text.strip()
    if not text.startswith(_PREFIX) or len(text) > _LONGEST:
        raise _malformed(f"it does not begin with {_PREFIX!r}" if len(text) <= _LONGEST else "it is too long")
    try:
        body = text.removeprefix(_PREFIX).encode("ascii")
        fields: Any = json.loads(base64.b64decode(body + b"=" * (-len(body) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise _malformed("it is not base64url of JSON; was it copied whole?") from None
    if not isinstance(fields, dict):
        raise _malformed("it holds no object")
    values: dict[str, str] = {key: fields.get(key, "") for key in "isfnd"}  # pyright: ignore[reportUnknownMemberType] # JSON
    if not all(isinstance(value, str) for value in values.values()):  # pyright: ignore[reportUnnecessaryIsInstance] # JSON
        raise _malformed("a field is not text")
    return _token(values)


def _token(values: dict[str, str]) -> Token:
    if not 1 <= len(values["i"]) <= 64 or not re.fullmatch(r"[A-Za-z0-9_-]{43}", values["s"]):
        raise _malformed("its id or its secret has the wrong length")
    if not re.fullmatch(r"[0-9a-f]{64}", values["f"]):
        raise _malformed("its fingerprint is not SHA-256")
    store, _, node = values["n"].partition("/")
    try:
        place = spiffe.parse(str(NodeId(values["d"], store, node)))
    except ValueError:
        raise _malformed("it names no store/node and trust domain") from None
    return Token(values["i"], values["s"], values["f"], place)


def _malformed(why: str) -> RefusedError:
    return RefusedError("BAD_REQUEST", f"the token is malformed: {why}")
