"""The one-time token that turns a box into a node. Pure.

Text: "set1." + base64url without padding of the JSON object
{"i": token id, "s": secret, "f": SHA-256 of the root certificate's DER in hex, "n": "store/node", "d": trust domain}.
Central keeps only the SHA-256 of the secret.
"""

import base64
import hashlib
import json
from dataclasses import dataclass

from central.names import NodeName

PREFIX = "set1."


@dataclass(frozen=True, slots=True)
class Token:
    id: str
    secret: str  # 32 random bytes, base64url: 43 characters
    fingerprint: str  # SHA-256 of the root certificate's DER, hex
    node: NodeName
    domain: str


def new_secret(random32: bytes) -> str:
    """The text form of 32 random bytes."""
    return base64.urlsafe_b64encode(random32).rstrip(b"=").decode()


def secret_hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def encode(token: Token) -> str:
    fields = {"i": token.id, "s": token.secret, "f": token.fingerprint, "n": str(token.node), "d": token.domain}
    return PREFIX + base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).rstrip(b"=").decode()
