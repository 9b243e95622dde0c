"""The registry's SQLite file: a restart knows the devices that the last run knew."""

import logging
import sqlite3
from pathlib import Path

from agent.errors import StorageError
from agent.mqtt.registry.channels import Announced
from agent.mqtt.registry.device import Kept
from agent.mqtt.registry.registry import Changes

log = logging.getLogger(__name__)

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS device (
    id TEXT PRIMARY KEY,
    online INTEGER NOT NULL,
    first_seen_unix_nano INTEGER NOT NULL,
    last_seen_unix_nano INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    payload_bytes INTEGER NOT NULL,
    last_topic TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS announced (topic TEXT PRIMARY KEY, payload BLOB NOT NULL) WITHOUT ROWID;
ALTER TABLE device ADD COLUMN messages_faded REAL NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN bytes_faded REAL NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN silent INTEGER NOT NULL DEFAULT 0;
PRAGMA user_version = 1;
COMMIT;
"""
# From a file of version 0, which had the first columns only, or from none. One transaction: a crash leaves 0 or 1.
_VERSION = 1


class RegistryFile:
    """Blocks: call it from a thread, one call at a time.

    synchronous=NORMAL: a power cut may take the last saves with it, never the file's sense. The registry is a view,
    nothing is owed to it; and a save without fsync spares the flash.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open_db: sqlite3.Connection | None = None

    def load(self) -> tuple[tuple[Kept, ...], tuple[Announced, ...]]:
        """Empty when there is no file. One that makes no sense is set aside, and said so: it can be learnt again.

        Raises StorageError when the disk fails.
        """
        try:
            return self._load()
        except sqlite3.OperationalError as why:
            raise StorageError(f"{self._path}: {why}") from why
        except sqlite3.DatabaseError:
            aside = self._path.with_suffix(".corrupt")
            log.exception("device registry can't be read, begins anew", extra={"set_aside": aside})
            self.close()
            self._path.replace(aside)
            for rest in ("-wal", "-shm"):
                self._path.with_name(self._path.name + rest).unlink(missing_ok=True)
            return (), ()

    def save(self, changes: Changes) -> None:
        """Raises StorageError; nothing of `changes` is written then."""
        try:
            db = self._db()
            with db:
                db.executemany("INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", changes.changed)
                db.executemany("DELETE FROM device WHERE id = ?", [(name,) for name in changes.gone])
                for topic, payload in changes.announced:
                    if payload:
                        db.execute("INSERT OR REPLACE INTO announced VALUES (?, ?)", (topic, payload))
                    else:
                        db.execute("DELETE FROM announced WHERE topic = ?", (topic,))
        except (sqlite3.Error, OSError) as why:
            raise StorageError(f"{self._path}: {why}") from why

    def close(self) -> None:
        if self._open_db is not None:
            self._open_db.close()
            self._open_db = None

    def _load(self) -> tuple[tuple[Kept, ...], tuple[Announced, ...]]:
        db = self._db()
        rows = db.execute(
            "SELECT id, online, first_seen_unix_nano, last_seen_unix_nano, messages, payload_bytes, last_topic,"
            " messages_faded, bytes_faded, silent FROM device"
        )
        devices = tuple(Kept._make((row[0], bool(row[1]), *row[2:9], bool(row[9]))) for row in rows)
        return devices, tuple(Announced(*row) for row in db.execute("SELECT topic, payload FROM announced"))

    def _db(self) -> sqlite3.Connection:
        if self._open_db is None:
            # One call at a time, but asyncio.to_thread doesn't promise the same thread each time.
            db = sqlite3.connect(self._path, check_same_thread=False)
            try:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=NORMAL")
                if db.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                    db.executescript(_SCHEMA)
            except BaseException:  # a full disk, say: half a schema must not be what is used when there is room
                db.close()
                raise
            self._open_db = db
        return self._open_db
