"""The spool's file: settings, schemas, boots."""

import sqlite3
from pathlib import Path

import pytest

from agent.clock import Clock
from agent.errors import CorruptError, StorageError
from agent.model import RecordClass
from agent.spool.file import open_file
from agent.spool.journal import open_journal
from agent.spool.record import ROW_OVERHEAD_BYTES, Draft, Entry

SCHEMA_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE class (
    record_class INTEGER PRIMARY KEY, next_seq INTEGER NOT NULL, acked_seq INTEGER NOT NULL, dropped INTEGER NOT NULL,
    records INTEGER NOT NULL, bytes INTEGER NOT NULL
);
CREATE TABLE record (
    id INTEGER PRIMARY KEY, priority INTEGER NOT NULL, gap_first INTEGER, payload BLOB NOT NULL
);
PRAGMA user_version = 1;
"""


def opened(path: Path, boot_id: str = "b" * 36) -> sqlite3.Connection:
    return open_file(path / "spool.db", epoch="e1", boot_id=boot_id)


def test_a_commit_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    db = opened(tmp_path)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    db.close()


def test_a_spool_of_the_agent_before_is_taken_over_whole(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "spool.db")
    db.executescript(SCHEMA_1)
    db.execute("INSERT INTO meta VALUES ('epoch', 'old')")
    db.execute("INSERT INTO class VALUES (4, 5, 0, 2, 3, 122)")
    rows = [(1, 5, None, b"a"), (3, 9, 2, b""), (4, 5, None, b"d")]
    db.executemany("INSERT INTO record VALUES (? | (4 << 56), ?, ?, ?)", rows)
    db.commit()
    db.close()
    journal = open_journal(tmp_path / "spool.db", limit_bytes=1 << 20, epoch="e1", clock=Clock("b" * 36))
    assert journal.epoch == "old"
    journal.append([Draft(RecordClass.DEVICE, b"e", 5, 1 << 62)])
    found = [journal.read(RecordClass.DEVICE, seq, max_records=9, max_bytes=1 << 20) for seq in (0, 1)]
    assert found == [
        [Entry(1, b"a")],
        [Entry(3, b"", 2, "spool full"), Entry(4, b"d"), Entry(5, b"e")],
    ]
    assert journal.tallies[RecordClass.DEVICE].held_bytes == 122 + 1 + ROW_OVERHEAD_BYTES
    journal.close()


def test_a_new_boot_is_entered_once(tmp_path: Path) -> None:
    db = opened(tmp_path)
    db.execute("INSERT INTO record VALUES (1, 5, NULL, x'00', 10, 20)")
    db.close()
    lapses = []
    for boot_id in ("b" * 36, "c" * 36):
        db = opened(tmp_path, boot_id)
        lapses.append(db.execute("SELECT lapses FROM record").fetchone()[0])
        db.close()
    assert lapses == [20, None]


def test_a_file_that_is_no_spool_is_named_corrupt(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(CorruptError, match=r"spool\.db"):
        opened(tmp_path)


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with sqlite3.connect(tmp_path / "spool.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorageError, match="upgrade"):
        opened(tmp_path)
