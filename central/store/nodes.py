"""Nodes, their certificates and what is desired of them."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from central.names import NodeName

_COLUMNS = """
  SELECT id, store, node, enrolled, agent_version, applied_revision, desired_revision, last_seen,
    (SELECT coalesce(max(not_after), 0) FROM certificate WHERE node_id = node.id AND revoked = 0), sealing_key
  FROM node
"""


@dataclass(frozen=True, slots=True)
class NodeRow:
    id: int
    name: NodeName
    enrolled: int
    agent_version: str
    applied_revision: int
    desired_revision: int
    last_seen: int
    certificate_not_after: int
    sealing_key: bytes  # SubjectPublicKeyInfo, DER; empty: it has not said yet


def _node(row: tuple[Any, ...]) -> NodeRow:
    return NodeRow(row[0], NodeName(row[1], row[2]), *row[3:])


def find(db: sqlite3.Connection, name: NodeName) -> NodeRow | None:
    row = db.execute(f"{_COLUMNS} WHERE store = ? AND node = ?", (name.store, name.node)).fetchone()
    return _node(row) if row else None


def everyone(db: sqlite3.Connection) -> list[NodeRow]:
    return [_node(row) for row in db.execute(f"{_COLUMNS} ORDER BY store, node")]


def invite(db: sqlite3.Connection, name: NodeName) -> int:
    """The id of the node, which is made if it is new."""
    db.execute("INSERT OR IGNORE INTO node (store, node) VALUES (?, ?)", (name.store, name.node))
    (number,) = db.execute("SELECT id FROM node WHERE store = ? AND node = ?", (name.store, name.node)).fetchone()
    return int(number)


def enrol(db: sqlite3.Connection, node: int, hardware: str, now: int) -> None:
    """The node has come, perhaps as a new box in an old place: what the old box holds is worth nothing any more."""
    db.execute("UPDATE node SET enrolled = ?, hardware = ?, sealing_key = x'' WHERE id = ?", (now, hardware, node))
    db.execute("UPDATE certificate SET revoked = ? WHERE node_id = ? AND revoked = 0", (now, node))


def add_certificate(db: sqlite3.Connection, node: int, serial: str, not_after: int) -> None:
    db.execute("INSERT INTO certificate (serial, node_id, not_after) VALUES (?, ?, ?)", (serial, node, not_after))


def holds(db: sqlite3.Connection, node: int, serial: str) -> bool:
    """Whether this certificate was given to this node and still counts."""
    row = db.execute("SELECT node_id FROM certificate WHERE serial = ? AND revoked = 0", (serial,)).fetchone()
    return bool(row == (node,))


def seen(db: sqlite3.Connection, node: int, now: int, agent_version: str, applied_revision: int) -> None:
    db.execute(
        "UPDATE node SET last_seen = ?, agent_version = ?, applied_revision = ? WHERE id = ?",
        (now, agent_version, applied_revision, node),
    )


def set_sealing_key(db: sqlite3.Connection, node: int, key_der: bytes) -> None:
    db.execute("UPDATE node SET sealing_key = ? WHERE id = ?", (key_der, node))


def desired(db: sqlite3.Connection, node: int) -> tuple[int, bytes]:
    """Revision and content; revision 0 when nothing was ever desired."""
    revision, content = db.execute("SELECT desired_revision, desired FROM node WHERE id = ?", (node,)).fetchone()
    return revision, content


def set_desired(
    db: sqlite3.Connection, node: int, content: bytes, same: Callable[[bytes, bytes], bool]
) -> tuple[int, bool]:
    """(revision, whether it changed): the same content keeps its revision, and what was stored of it.

    A new revision is above what the node has applied too, which may be more than a restored central remembers.
    """
    revision, applied, before = db.execute(
        "SELECT desired_revision, applied_revision, desired FROM node WHERE id = ?", (node,)
    ).fetchone()
    if revision and same(before, content):
        return revision, False
    revision = max(revision, applied) + 1
    db.execute("UPDATE node SET desired_revision = ?, desired = ? WHERE id = ?", (revision, content, node))
    return revision, True
