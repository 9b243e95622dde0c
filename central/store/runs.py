"""Device messages in runs: a row for each batch as it came, so that a message costs no statement of its own."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from storeedge.v1.control_pb2 import Batch
from storeedge.v1.record_pb2 import Record

_READ = "SELECT last_id, epoch, received, body FROM device_run WHERE node_id = ? AND last_id > ? ORDER BY last_id"


@dataclass(frozen=True, slots=True)
class Kept:
    """One message of a run; `id` as `record.id`, from the same counter."""

    id: int
    epoch: str
    received: int
    seq: int
    record: Record | bytes  # bytes: what is stored is no batch, whole and under its last id


def add(db: sqlite3.Connection, node: int, epoch: str, now: int, body: bytes, count: int) -> None:
    """`body`: a storeedge.v1.Batch of `count` records, serialised."""
    db.execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'record'", (count,))
    db.execute(
        "INSERT INTO device_run SELECT seq, ?, ?, ?, ? FROM sqlite_sequence WHERE name = 'record'",
        (node, epoch, now, body),
    )


def read(db: sqlite3.Connection, node: int, after_id: int = 0, *, newest: bool = False) -> Iterator[Kept]:
    """Messages with ids above `after_id`, oldest first, or from the newest one back. One run at a time in memory."""
    for last_id, epoch, received, body in db.execute(_READ + (" DESC" if newest else ""), (node, after_id)):
        run = list(_split(last_id, epoch, received, body))
        for kept in reversed(run) if newest else run:
            if kept.id > after_id:
                yield kept


def newest_epoch(db: sqlite3.Connection, node: int) -> tuple[int, str] | None:
    """(id, spool epoch) of a node's newest run."""
    query = "SELECT last_id, epoch FROM device_run WHERE node_id = ? ORDER BY last_id DESC LIMIT 1"
    found: tuple[int, str] | None = db.execute(query, (node,)).fetchone()
    return found


def _split(last_id: int, epoch: str, received: int, body: bytes) -> Iterator[Kept]:
    try:
        batch = Batch.FromString(body)
    except DecodeError:
        yield Kept(last_id, epoch, received, 0, body)
        return
    first_id = last_id + 1 - len(batch.records)
    for index, record in enumerate(batch.records):
        yield Kept(first_id + index, epoch, received, batch.first_seq + index, record)
