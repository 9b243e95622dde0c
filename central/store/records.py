"""Records as they come: each once, in order, and durable before they are acknowledged."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import groupby, islice

from central import batches
from central.names import NodeName
from central.refusal import refused
from central.store import runs
from central.store.keys import Keys, digest
from storeedge.v1.control_pb2 import Batch
from storeedge.v1.record_pb2 import AuditEntry, Record
from storeedge.v1.types_pb2 import RECORD_CLASS_AUDIT, RECORD_CLASS_DEVICE, RecordClass

_READ_BYTES = 3 << 20  # of one answer; below gRPC's 4 MiB
_REDELIVERY_RECORDS = 4000  # newest; far fewer than packet ids, so that a reused id is not taken for a repeat
_READ = """
  SELECT record.id, store, node, seq, epoch, received, body FROM record LEFT JOIN node ON node.id = node_id
  WHERE node_id IS ? AND class = ? AND record.id > ? ORDER BY record.id
"""
_READ_NEWEST = _READ.replace("ORDER BY record.id", "ORDER BY record.id DESC")

_INSERT = "INSERT INTO record (node_id, class, epoch, received, seq, body) VALUES (?, ?, ?, ?, ?, ?)"

# As a message is serialised when it was redelivered, or has an idempotency key. One of them in a payload only has each
# record of the batch looked at.
_MAY_REPEAT = (b"\x50\x01", b"\x5a")

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
    row = db.execute("SELECT id, epoch FROM record WHERE node_id = ? ORDER BY id DESC LIMIT 1", (node,)).fetchone()
    found = max(row or (0, ""), runs.newest_epoch(db, node) or (0, ""))
    return positions(db, node, found[1]) if found[0] else {}


def store(db: sqlite3.Connection, node: int, epoch: str, batch: Batch, now: int, keys: Keys) -> int:
    """Keep what is new in a batch; the highest contiguous sequence number now held.

    Raises RefusedError(SEQUENCE_HOLE) when records between what is held and this batch are missing.
    """
    held = positions(db, node, epoch).get(batch.record_class, 0)
    begins = batches.begins_at(batch)
    if begins > held + 1:
        raise refused("SEQUENCE_HOLE", f"batch begins at {begins}, central holds up to {held}: send a gap")
    if batch.record_class == RECORD_CLASS_DEVICE:
        _store_devices(db, node, epoch, batch, held, now, keys)
    else:
        fresh = [(seq, record) for seq, record in enumerate(batch.records, batch.first_seq) if seq > held]
        rows = [(node, batch.record_class, epoch, now, seq, record.SerializeToString()) for seq, record in fresh]
        db.executemany(_INSERT, rows)
    held = max(held, batches.last_seq(batch))
    db.execute("INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)", (node, epoch, batch.record_class, held))
    return held


def _store_devices(
    db: sqlite3.Connection, node: int, epoch: str, batch: Batch, held: int, now: int, keys: Keys
) -> None:
    body = batch.SerializeToString()
    if held < batch.first_seq and not any(mark in body for mark in _MAY_REPEAT):
        runs.add(db, node, epoch, now, body, len(batch.records))
        return
    fresh = [(seq, record) for seq, record in enumerate(batch.records, batch.first_seq) if seq > held]
    for run in _neighbours(_once(db, node, fresh, keys)):
        body = Batch(first_seq=run[0][0], records=[record for _, record in run]).SerializeToString()
        runs.add(db, node, epoch, now, body, len(run))


def _neighbours(found: Sequence[_Numbered]) -> Iterator[list[_Numbered]]:
    """Cut where a number is missing."""
    for _, run in groupby(enumerate(found), lambda at: at[1][0] - at[0]):
        yield [one for _, one in run]


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

    One run at a time: a thousand messages may be 128 MiB.
    """
    newest = _rows(db, node, RECORD_CLASS_DEVICE, newest=True)
    return {_delivery(Record.FromString(row.body)) for row in islice(newest, _REDELIVERY_RECORDS)}


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
    found, size = list[Stored](), 0
    for stored in islice(_rows(db, node, record_class, after_id, newest=newest), limit):
        size += len(stored.body)
        if found and size > max_bytes:
            break
        found.append(stored)
    return found[::-1] if newest else found


def _rows(
    db: sqlite3.Connection, node: int | None, record_class: RecordClass, after_id: int = 0, *, newest: bool = False
) -> Iterator[Stored]:
    """By id, whether they lie alone or in runs; device messages lay alone before schema 4."""
    rows = db.execute(_READ_NEWEST if newest else _READ, (node, record_class, after_id))
    alone = (Stored(row[0], NodeName(row[1], row[2]) if row[1] else None, *row[3:]) for row in rows)
    if node is None or record_class != RECORD_CLASS_DEVICE:
        return alone
    return merge(alone, _from_runs(db, node, after_id, newest=newest), key=lambda one: one.id, reverse=newest)


def _from_runs(db: sqlite3.Connection, node: int, after_id: int, *, newest: bool) -> Iterator[Stored]:
    found = db.execute("SELECT store, node FROM node WHERE id = ?", (node,)).fetchone()
    name = NodeName(*found) if found else None
    for kept in runs.read(db, node, after_id, newest=newest):
        body = kept.record if isinstance(kept.record, bytes) else kept.record.SerializeToString()
        yield Stored(kept.id, name, kept.seq, kept.epoch, kept.received, body)


def numbered(db: sqlite3.Connection, node: int, record_class: RecordClass) -> Iterator[tuple[str, int, bytes]]:
    """(spool epoch, sequence number, Record serialised) of a class, as they came."""
    return ((row.epoch, row.seq, row.body) for row in _rows(db, node, record_class))


def held(db: sqlite3.Connection, node: int, record_class: RecordClass) -> dict[str, int]:
    """Spool epoch -> highest contiguous sequence number held of a class."""
    rows = db.execute("SELECT epoch, seq FROM position WHERE node_id = ? AND class = ?", (node, record_class))
    return dict(rows.fetchall())


def bodies(db: sqlite3.Connection, node: int, record_class: RecordClass) -> Iterator[tuple[str, Record]]:
    """(spool epoch, record) of a class, as they came."""
    return ((row.epoch, Record.FromString(row.body)) for row in _rows(db, node, record_class))
