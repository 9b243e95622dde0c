"""Records as they come: each once, in order, and durable before they are acknowledged."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from central import batches
from central.names import NodeName
from central.refusal import refused
from central.store.keys import Keys, digest
from storeedge.v1.control_pb2 import Batch
from storeedge.v1.record_pb2 import AuditEntry, Record
from storeedge.v1.types_pb2 import RECORD_CLASS_AUDIT, RECORD_CLASS_DEVICE, RecordClass

_READ_BYTES = 3 << 20  # of one answer; below gRPC's 4 MiB
_REDELIVERY_RECORDS = 4000  # newest; far fewer than packet ids, so that a reused id is not taken for a repeat
_READ = """
  SELECT record.id, store, node, seq, epoch, received, body FROM record LEFT JOIN node ON node.id = node_id
  WHERE node_id IS ? AND class = ? AND record.id > ? ORDER BY record.id LIMIT ?
"""
_READ_NEWEST = _READ.replace("ORDER BY record.id", "ORDER BY record.id DESC")

# Rows of one INSERT: each statement gives the interpreter's lock away, which is dear when it is done for each record.
_ROWS = 25
_COLUMNS = "INSERT INTO record (node_id, class, epoch, received, seq, body) VALUES "
_INSERT_ONE = _COLUMNS + "(?, ?, ?, ?, ?, ?)"
_INSERT_MANY = _COLUMNS + ", ".join(f"(?1, ?2, ?3, ?4, ?{n}, ?{n + 1})" for n in range(5, 5 + 2 * _ROWS, 2))

_Numbered = tuple[int, Record]


@dataclass(frozen=True, slots=True)
class Stored:
    id: int
    node: NodeName | None
    seq: int
    epoch: str
    received: int
    body: bytes


def positions(db: sqlite3.Connection, node: int, epoch: str) -> dict[RecordClass, int]:
    """Class -> highest contiguous sequence number held."""
    rows = db.execute("SELECT class, seq FROM position WHERE node_id = ? AND epoch = ?", (node, epoch))
    return dict(rows.fetchall())


def newest_positions(db: sqlite3.Connection, node: int) -> dict[RecordClass, int]:
    """Positions in the spool the node used last."""
    row = db.execute("SELECT epoch FROM record WHERE node_id = ? ORDER BY id DESC LIMIT 1", (node,)).fetchone()
    return positions(db, node, row[0]) if row else {}


def store(db: sqlite3.Connection, node: int, epoch: str, batch: Batch, now: int, keys: Keys) -> int:
    """Keep what is new in a batch; the highest contiguous sequence number now held.

    Raises RefusedError(SEQUENCE_HOLE) when records between what is held and this batch are missing.
    """
    held = positions(db, node, epoch).get(batch.record_class, 0)
    begins = batches.begins_at(batch)
    if begins > held + 1:
        raise refused("SEQUENCE_HOLE", f"batch begins at {begins}, central holds up to {held}: send a gap")
    fresh = [(seq, record) for seq, record in enumerate(batch.records, batch.first_seq) if seq > held]
    if batch.record_class == RECORD_CLASS_DEVICE:
        fresh = _once(db, node, fresh, keys)
    _insert(db, (node, batch.record_class, epoch, now), fresh)
    held = max(held, batches.last_seq(batch))
    db.execute("INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)", (node, epoch, batch.record_class, held))
    return held


def _insert(db: sqlite3.Connection, common: tuple[int, int, str, int], records: Sequence[_Numbered]) -> None:
    rows = [(seq, record.SerializeToString()) for seq, record in records]
    whole = len(rows) - len(rows) % _ROWS
    for begin in range(0, whole, _ROWS):
        db.execute(_INSERT_MANY, [*common, *chain.from_iterable(rows[begin : begin + _ROWS])])
    db.executemany(_INSERT_ONE, [(*common, *row) for row in rows[whole:]])


def _once(db: sqlite3.Connection, node: int, records: list[_Numbered], keys: Keys) -> list[_Numbered]:
    """Without the messages that were here before: under their own key, or as an earlier delivery of the broker."""
    messages = [record.device for _, record in records]
    if any(message.redelivered for message in messages):
        records = _undelivered(db, node, records)
        messages = [record.device for _, record in records]
    names = [message.idempotency_key for message in messages]
    if not any(names):
        return records
    known, new = keys.held(db, node), dict[bytes, None]()
    found: list[_Numbered] = []
    for one, message, name in zip(records, messages, names, strict=True):
        if name:
            key = digest(message.device, name)
            if key in known or key in new:
                continue
            new[key] = None
        found.append(one)
    if new:
        keys.add(db, node, list(new))
    return found


def _undelivered(db: sqlite3.Connection, node: int, records: list[_Numbered]) -> list[_Numbered]:
    recent, found = _deliveries(db, node), list[_Numbered]()
    for one in records:
        delivery = _delivery(one[1])
        if not one[1].device.redelivered or delivery not in recent:
            recent.add(delivery)
            found.append(one)
    return found


def _delivery(record: Record) -> tuple[int, str, bytes]:
    """What makes two deliveries of a broker one (storeedge.v1.DeviceMessage.redelivered); the payload as its hash."""
    return record.device.packet_id, record.device.topic, hashlib.sha256(record.device.payload).digest()


def _deliveries(db: sqlite3.Connection, node: int) -> set[tuple[int, str, bytes]]:
    """The node's newest: a node that died between record and PUBACK gets, and records, its last ones again.

    One row at a time: a thousand of them may be 128 MiB.
    """
    rows = db.execute(
        "SELECT body FROM record WHERE node_id = ? AND class = ? ORDER BY id DESC LIMIT ?",
        (node, RECORD_CLASS_DEVICE, _REDELIVERY_RECORDS),
    )
    return {_delivery(Record.FromString(body)) for (body,) in rows}


def add_audit(db: sqlite3.Connection, entry: AuditEntry, now: int) -> None:
    """Central's own trail."""
    body = Record(time_unix_nano=now, audit=entry).SerializeToString()
    db.execute("INSERT INTO record (class, received, body) VALUES (?, ?, ?)", (RECORD_CLASS_AUDIT, now, body))


def read(
    db: sqlite3.Connection,
    node: int | None,
    record_class: RecordClass,
    *,
    after_id: int = 0,
    limit: int = 1000,
    newest: bool = False,
    max_bytes: int = _READ_BYTES,
) -> list[Stored]:
    """At most `limit` records with ids above `after_id`, or the newest of them; oldest first, and at least one."""
    rows = db.execute(_READ_NEWEST if newest else _READ, (node, record_class, after_id, limit))
    found, size = list[Stored](), 0
    for number, store_name, node_name, *rest in rows:
        stored = Stored(number, NodeName(store_name, node_name) if store_name else None, *rest)
        size += len(stored.body)
        if found and size > max_bytes:
            break
        found.append(stored)
    rows.close()
    return found[::-1] if newest else found


def numbered(db: sqlite3.Connection, node: int, record_class: RecordClass) -> Iterator[tuple[str, int, bytes]]:
    """(spool epoch, sequence number, Record serialised) of a class, as they came."""
    query = "SELECT epoch, seq, body FROM record WHERE node_id = ? AND class = ? ORDER BY id"
    yield from db.execute(query, (node, record_class))


def held(db: sqlite3.Connection, node: int, record_class: RecordClass) -> dict[str, int]:
    """Spool epoch -> highest contiguous sequence number held of a class."""
    rows = db.execute("SELECT epoch, seq FROM position WHERE node_id = ? AND class = ?", (node, record_class))
    return dict(rows.fetchall())


def bodies(db: sqlite3.Connection, node: int, record_class: RecordClass) -> Iterator[tuple[str, Record]]:
    """(spool epoch, record) of a class, as they came."""
    query = "SELECT epoch, body FROM record WHERE node_id = ? AND class = ? ORDER BY id"
    for epoch, body in db.execute(query, (node, record_class)):
        yield epoch, Record.FromString(body)
