"""Keys, requests and certificates, by way of a child process that alone imports cryptography."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.identity import child

# A file, not a module name: works from a checkout on PYTHONPATH too, which -I ignores.
_CHILD = Path(__file__).with_name("keychild.py")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a certificate says of its holder."""

    uris: tuple[str, ...]
    not_before_unix_nano: int
    not_after_unix_nano: int


async def make(key_file: Path, spiffe_id: str) -> bytes:
    """A new EC P-256 key in `key_file` (0600), and its CSR in DER. Raises StorageError, AwayError."""
    return await _ask(b"", "make", str(key_file), spiffe_id)


async def check(key_file: Path, chain_der: Sequence[bytes], bundle_der: Sequence[bytes]) -> Facts:
    """Facts of the leaf, proven to be of this key and to lead to a root of the bundle.

    Raises RefusedError(BAD_REQUEST) when it isn't so, StorageError, AwayError.
    """
    asked = {
        "chain": [base64.b64encode(each).decode() for each in chain_der],
        "bundle": [base64.b64encode(each).decode() for each in bundle_der],
    }
    facts = json.loads(await _ask(json.dumps(asked).encode(), "check", str(key_file)))
    return Facts(tuple(facts["uris"]), facts["not_before_unix_nano"], facts["not_after_unix_nano"])


async def _ask(stdin: bytes, *arguments: str) -> bytes:
    return await child.ask(_CHILD, stdin, *arguments, refusal="the certificate is not usable")
