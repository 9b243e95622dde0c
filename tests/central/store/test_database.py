import sqlite3
import threading
from pathlib import Path

import pytest

from central.store.database import Database, connect, migrate, schemas


async def test_work_runs_on_one_thread_that_is_not_the_loops(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    threads = {await database.run(lambda _: threading.get_ident()) for _ in range(5)}
    database.close()
    assert len(threads) == 1 and threading.get_ident() not in threads


async def test_work_that_fails_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")

    def fail(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO node (store, node) VALUES ('a', 'b')")
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        await database.run(fail)
    assert await database.run(lambda db: db.execute("SELECT count(*) FROM node").fetchone()) == (0,)
    database.close()


def test_commits_are_flushed_and_the_schema_has_its_number(tmp_path: Path) -> None:
    Database(tmp_path / "db").close()
    Database(tmp_path / "db").close()
    db = connect(tmp_path / "db")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert db.execute("PRAGMA user_version").fetchone() == (schemas()[-1][0],)
    db.close()


def test_what_was_stored_under_an_older_schema_is_there_under_its_old_ids(tmp_path: Path) -> None:
    db = connect(tmp_path / "db")
    for number, script in schemas()[:2]:
        db.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")
    db.execute("INSERT INTO node (id, store, node) VALUES (1, 's', 'n')")
    rows = [(7, 1, 4, "e", 1, 5, "d", b"a"), (9, None, 1, "", 0, 6, "", b"own"), (10, 1, 4, "e", 2, 7, "d", b"b")]
    db.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    migrate(db)
    kept = db.execute("SELECT id, node_id, class, epoch, seq, received, body FROM record ORDER BY id").fetchall()
    assert kept == [(*row[:6], row[7]) for row in rows]
    db.execute("DELETE FROM record WHERE id = 10")
    db.execute("INSERT INTO record (class, received, body) VALUES (1, 8, x'')")
    assert db.execute("SELECT max(id) FROM record").fetchone() == (11,)  # no id is given twice
    db.close()


@pytest.mark.parametrize("version", [number for number, _ in schemas()])
def test_an_empty_file_of_any_schema_hands_out_ids_from_one(tmp_path: Path, version: int) -> None:
    db = connect(tmp_path / "db")
    for number, script in schemas()[:version]:
        db.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")
    migrate(db)
    assert db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'record'").fetchall() == [(0,)]
    db.close()


def test_a_file_of_a_newer_release_is_refused_in_words_and_left_as_it_is(tmp_path: Path) -> None:
    db = connect(tmp_path / "db")
    migrate(db)
    db.execute("PRAGMA user_version = 99")
    with pytest.raises(sqlite3.DatabaseError, match="schema 99 is newer than this central's"):
        migrate(db)
    db.close()
