"""The spool's file: its settings, its schema, and how an older one is brought to it."""

import sqlite3
from pathlib import Path

from agent.errors import CorruptError, StorageError

SCHEMA_VERSION = 2

# WAL pages of 4 KiB before they are copied to the file: a page that was filled and emptied meanwhile is copied once.
_CHECKPOINT_PAGES = 2000
_WAL_BYTES = 16 << 20  # what a burst has made longer is cut back to this

# Columns are added without touching a row; an index on what expires costs nothing for what doesn't.
_FROM_1 = """
ALTER TABLE record ADD COLUMN expires INTEGER;
ALTER TABLE record ADD COLUMN lapses INTEGER;
CREATE INDEX record_expires ON record (expires) WHERE expires IS NOT NULL;
PRAGMA user_version = 2;
"""


def open_file(path: Path, *, epoch: str, boot_id: str) -> sqlite3.Connection:
    """A connection for any thread, one at a time; a new file gets `epoch`.

    Raises CorruptError when the file is no spool of ours, StorageError when the disk refuses.
    """
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise StorageError(f"{path}: {error}") from error
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -512")  # KiB: the spool is written once and read once
        db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        _bring_up(db, path, epoch)
        _enter_boot(db, boot_id)
    except sqlite3.OperationalError as error:
        db.close()
        raise StorageError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        db.close()
        raise CorruptError(f"{path}: {error}") from error
    except StorageError:
        db.close()
        raise
    return db


def _bring_up(db: sqlite3.Connection, path: Path, epoch: str) -> None:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StorageError(f"{path}: schema {version} is newer than this agent's {SCHEMA_VERSION}; upgrade the agent")
    if version == 0:
        db.executescript("BEGIN;" + Path(__file__).with_name("schema.sql").read_text())
        db.execute("INSERT INTO meta VALUES ('epoch', ?)", (epoch,))
        db.execute("COMMIT")
    elif version == 1:
        db.executescript(f"BEGIN IMMEDIATE; {_FROM_1} COMMIT;")


def _enter_boot(db: sqlite3.Connection, boot_id: str) -> None:
    """In a new boot CLOCK_BOOTTIME has begun again: what was appended before is judged by the wall clock."""
    if db.execute("SELECT 1 FROM meta WHERE key = 'boot' AND value = ?", (boot_id,)).fetchone():
        return
    try:
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE record SET lapses = NULL WHERE expires IS NOT NULL")
        db.execute("INSERT OR REPLACE INTO meta VALUES ('boot', ?)", (boot_id,))
        db.execute("COMMIT")
    except sqlite3.OperationalError:  # a full disk: nothing expires early, and the agent starts
        if db.in_transaction:
            db.execute("ROLLBACK")
