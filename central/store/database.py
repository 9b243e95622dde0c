"""One SQLite file behind one thread: the event loop never waits for a disk."""

import asyncio
import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_NAME = re.compile(r"(\d{4})\.sql")


def schemas() -> list[tuple[int, str]]:
    """The numbered steps of the schema, in order."""
    folder = resources.files("central.store") / "schema"
    found = [(int(m[1]), f.read_text()) for f in folder.iterdir() if (m := _NAME.fullmatch(f.name))]
    return sorted(found)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest schema, each step in a transaction. Raises sqlite3.Error, also for a newer one."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    steps = schemas()
    if version > steps[-1][0]:
        raise sqlite3.DatabaseError(f"schema {version} is newer than this central's {steps[-1][0]}: upgrade central")
    for number, script in steps:
        if number > version:
            connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")


def connect(path: Path) -> sqlite3.Connection:
    """A connection whose commits are on disk when they return."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -8000")  # KiB: the ends of the table and of its index
    connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages: one that fills up meanwhile is copied once
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


class Database:
    """Runs pieces of work one after the other, each in its own transaction.

    A second one on the same file with `reads_only` answers questions without holding up what comes in (WAL).
    """

    def __init__(self, path: Path, *, reads_only: bool = False) -> None:
        """Raises sqlite3.Error."""
        self._connection = connect(path)
        self._begin = "BEGIN" if reads_only else "BEGIN IMMEDIATE"
        migrate(self._connection)
        self._thread = ThreadPoolExecutor(1, "sqlite")

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work(connection)`; committed when this returns, rolled back when it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._connection.execute(self._begin)
        try:
            result = work(self._connection)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return result

    def close(self) -> None:
        self._thread.shutdown()
        self._connection.close()
