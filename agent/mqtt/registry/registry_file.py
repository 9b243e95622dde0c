"""The registry's SQLite file: a restart knows the devices that the last run knew."""

import logging
import sqlite3
from pathlib import Path

from agent.errors import StorageError
from agent.model import DeviceView
from agent.mqtt.registry.registry import Changes

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS device (
    id TEXT PRIMARY KEY,
    online INTEGER NOT NULL,
    first_seen_unix_nano INTEGER NOT NULL,
    last_seen_unix_nano INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    payload_bytes INTEGER NOT NULL,
    last_topic TEXT NOT NULL
) WITHOUT ROWID
"""


class RegistryFile:
    """Blocks: call it from a thread, one call at a time.

    synchronous=NORMAL: a power cut may take the last saves with it, never the file's sense. The registry is a view,
    nothing is owed to it; and a save without fsync spares the flash.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open_db: sqlite3.Connection | None = None

    def load(self) -> tuple[DeviceView, ...]:
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
            return ()

    def save(self, changes: Changes) -> None:
        """Raises StorageError; nothing of `changes` is written then."""
        try:
            db = self._db()
            with db:
                db.executemany("INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?, ?)", map(_row, changes.changed))
                db.executemany("DELETE FROM device WHERE id = ?", [(name,) for name in changes.gone])
        except (sqlite3.Error, OSError) as why:
            raise StorageError(f"{self._path}: {why}") from why

    def close(self) -> None:
        if self._open_db is not None:
            self._open_db.close()
            self._open_db = None

    def _load(self) -> tuple[DeviceView, ...]:
        rows = self._db().execute(
            "SELECT id, online, first_seen_unix_nano, last_seen_unix_nano, messages, payload_bytes, last_topic"
            " FROM device"
        )
        return tuple(DeviceView(row[0], bool(row[1]), *row[2:]) for row in rows)

    def _db(self) -> sqlite3.Connection:
        if self._open_db is None:
            # One call at a time, but asyncio.to_thread doesn't promise the same thread each time.
            self._open_db = sqlite3.connect(self._path, check_same_thread=False)
            self._open_db.execute("PRAGMA journal_mode=WAL")
            self._open_db.execute("PRAGMA synchronous=NORMAL")
            self._open_db.execute(_SCHEMA)
        return self._open_db


def _row(view: DeviceView) -> tuple[str, bool, int, int, int, int, str]:
    return (
        view.id,
        view.online,
        view.first_seen_unix_nano,
        view.last_seen_unix_nano,
        view.messages,
        view.payload_bytes,
        view.last_topic,
    )
