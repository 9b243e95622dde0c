"""The file of held messages: SQLite in WAL mode, synchronous=FULL. Blocking; held.py keeps it off the loop."""

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.errors import CorruptError, StorageError
from agent.model import DeviceMessage, DeviceValue, Stamp
from agent.mqtt.rules.judge import Hold

# Of each message besides its payload, topic and properties: columns, pages half full, three indexes. An estimate.
_ROW_BYTES = 256
# AUTOINCREMENT: an id is never used again, also not after its row is gone. It is in the idempotency key.
_SCHEMA = """
CREATE TABLE meta (epoch TEXT NOT NULL);
CREATE TABLE held (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    due_seconds REAL NOT NULL,
    latest INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    topic TEXT NOT NULL,
    head TEXT NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX held_due ON held (due_seconds);
CREATE INDEX held_topic ON held (topic, id);
PRAGMA user_version = 1;
"""
# What is due, and what came before it on the same topic.
_DUE = """
SELECT held.id, held.topic, held.head, held.payload FROM held
JOIN (SELECT topic, max(id) AS newest FROM held WHERE due_seconds <= ? GROUP BY topic) AS due
ON held.topic = due.topic AND held.id <= due.newest ORDER BY held.id LIMIT ?
"""
_ALL = "SELECT id, topic, head, payload FROM held WHERE ? IS NOT NULL ORDER BY id LIMIT ?"

Row = tuple[int, DeviceMessage]


class HeldFile:
    """Made by `open_held`. Methods raise StorageError when the disk refuses; nothing of that call is then kept."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._epoch: str = db.execute("SELECT epoch FROM meta").fetchone()[0]
        self.size_bytes: int = db.execute("SELECT coalesce(sum(size_bytes), 0) FROM held").fetchone()[0]
        self.next_due_seconds = self._first_due()
        """When the first is due; None when there is none."""

    def topics(self) -> Counter[str]:
        """How many messages of each topic there are."""
        try:
            return Counter(dict(self._db.execute("SELECT topic, count(*) FROM held GROUP BY topic")))
        except sqlite3.Error as why:
            raise StorageError(f"held messages: {why}") from why

    def put(self, messages: Sequence[tuple[DeviceMessage, Hold]], stamp: Stamp) -> Counter[str]:
        """All of them, or none; `stamp` is when they came.

        Answers how many older ones of each topic gave their place to a newer one.
        """
        gone: Counter[str] = Counter()
        freed = added = 0
        try:
            with self._db:
                for message, hold in messages:
                    due = hold.due_seconds
                    if hold.latest:
                        for before, size in self._db.execute(
                            "DELETE FROM held WHERE topic = ? AND latest RETURNING due_seconds, size_bytes",
                            (message.topic,),
                        ).fetchall():
                            due = min(due, before)
                            gone[message.topic] += 1
                            freed += size
                    head = _head(message, stamp)
                    size = len(message.payload) + len(message.topic) + len(head) + _ROW_BYTES
                    added += size
                    self._db.execute(
                        "INSERT INTO held (due_seconds, latest, size_bytes, topic, head, payload)"
                        " VALUES (?, ?, ?, ?, ?, ?)",
                        (due, hold.latest, size, message.topic, head, message.payload),
                    )
                first = self._first_due()
        except sqlite3.Error as why:
            raise StorageError(f"held messages: {why}") from why
        self.size_bytes += added - freed
        self.next_due_seconds = first
        return gone

    def take(self, now_seconds: float, most: int, *, everything: bool) -> list[Row]:
        """The oldest `most` of what is due at `now_seconds`, or of all. Each has an idempotency key."""
        try:
            rows = self._db.execute(_ALL if everything else _DUE, (now_seconds, most)).fetchall()
        except sqlite3.Error as why:
            raise StorageError(f"held messages: {why}") from why
        return [
            (row, _message(topic, head, payload, f"held-{self._epoch}-{row}")) for row, topic, head, payload in rows
        ]

    def forget(self, ids: Sequence[int]) -> Counter[str]:
        """How many of each topic were still there."""
        gone: Counter[str] = Counter()
        freed = 0
        try:
            with self._db:
                for each in ids:
                    for topic, size in self._db.execute(
                        "DELETE FROM held WHERE id = ? RETURNING topic, size_bytes", (each,)
                    ).fetchall():
                        gone[topic] += 1
                        freed += size
                first = self._first_due()
        except sqlite3.Error as why:
            raise StorageError(f"held messages: {why}") from why
        self.size_bytes -= freed
        self.next_due_seconds = first
        return gone

    def close(self) -> None:
        self._db.close()

    def _first_due(self) -> float | None:
        found: float | None = self._db.execute("SELECT min(due_seconds) FROM held").fetchone()[0]
        return found


def open_held(path: Path, epoch: str) -> HeldFile:
    """The file at `path`; a new one gets `epoch`. What an earlier run held is due at once: its clock is gone.

    Raises CorruptError when the file makes no sense, StorageError when the disk refuses.
    """
    try:
        db = sqlite3.connect(path, check_same_thread=False)
    except sqlite3.Error as why:
        raise StorageError(f"{path}: {why}") from why
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -256")
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA}")
            db.execute("INSERT INTO meta VALUES (?)", (epoch,))
            db.commit()
        with db:
            db.execute("UPDATE held SET due_seconds = 0, latest = 0")
        return HeldFile(db)
    except sqlite3.OperationalError as why:
        db.close()
        raise StorageError(f"{path}: {why}") from why
    except (sqlite3.DatabaseError, TypeError) as why:
        db.close()
        raise CorruptError(f"{path}: {why}") from why


# --- rows ----------------------------------------------------------------------------------------


def _head(message: DeviceMessage, stamp: Stamp) -> str:
    return json.dumps(
        {
            "device": message.device,
            "qos": message.qos,
            "retained": message.retained,
            "content_type": message.content_type,
            "user_properties": message.user_properties,
            "correlation_data": message.correlation_data.hex(),
            "packet_id": message.packet_id,
            "redelivered": message.redelivered,
            "idempotency_key": message.idempotency_key,
            "values": [[v.name, v.value, v.unit, v.time_unix_nano] for v in message.values],
            "priority": message.priority,
            "expires_unix_nano": message.expires_unix_nano,
            "stamp": [stamp.time_unix_nano, stamp.boot_offset_nano, stamp.boot_id],
        }
    )


def _message(topic: str, head: str, payload: bytes, key: str) -> DeviceMessage:
    said: dict[str, Any] = json.loads(head)
    said["user_properties"] = tuple((name, value) for name, value in said["user_properties"])
    said["correlation_data"] = bytes.fromhex(said["correlation_data"])
    said["values"] = tuple(DeviceValue(*each) for each in said["values"])
    said["stamp"] = Stamp(*said["stamp"])
    said["idempotency_key"] = said["idempotency_key"] or key
    return DeviceMessage(topic=topic, payload=payload, **said)
