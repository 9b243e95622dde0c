"""One-time tokens."""

import hmac
import sqlite3
from dataclasses import dataclass

from central.names import NodeName

REPEAT_NANO = 600 * 1_000_000_000  # a lost answer may be asked for again this long


@dataclass(frozen=True, slots=True)
class TokenRow:
    node_id: int
    node: NodeName
    expires: int
    used: int
    key_hash: bytes | None
    leaf: bytes | None


def add(db: sqlite3.Connection, token: str, node: int, secret_hash: bytes, expires: int) -> None:
    db.execute(
        "INSERT INTO token (id, node_id, secret_hash, expires) VALUES (?, ?, ?, ?)", (token, node, secret_hash, expires)
    )


def find(db: sqlite3.Connection, token: str, secret_hash: bytes) -> TokenRow | None:
    """The token, if its secret is right."""
    row = db.execute(
        "SELECT secret_hash, node_id, store, node, expires, used, key_hash, leaf"
        " FROM token JOIN node ON node.id = node_id WHERE token.id = ?",
        (token,),
    ).fetchone()
    if row is None or not hmac.compare_digest(row[0], secret_hash):
        return None
    return TokenRow(row[1], NodeName(row[2], row[3]), *row[4:])


def use(db: sqlite3.Connection, token: str, now: int, key_hash: bytes, leaf: bytes) -> None:
    db.execute("UPDATE token SET used = ?, key_hash = ?, leaf = ? WHERE id = ?", (now, key_hash, leaf, token))
