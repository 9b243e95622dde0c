"""The file of commands: SQLite, each change durable before anybody acts on it (docs/decisions/0074)."""

import sqlite3
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar

from agent.errors import StorageError
from agent.mqtt.commands.queue import Command
from agent.orders import CommandState

_SCHEMA = """
CREATE TABLE IF NOT EXISTS command (
    id TEXT PRIMARY KEY, scope TEXT, actor TEXT, device TEXT, name TEXT, payload BLOB, key TEXT,
    at_least_once INTEGER, kept INTEGER, answered_by_device INTEGER,
    asked_unix_nano INTEGER, expires_unix_nano INTEGER, boot_id TEXT, expires_seconds REAL,
    reply_topic TEXT, reply_correlation BLOB, state TEXT, sent INTEGER,
    answer BLOB, answer_bytes INTEGER, ended_unix_nano INTEGER, owes INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (name TEXT PRIMARY KEY, last INTEGER) WITHOUT ROWID;
"""
_INSERT = "INSERT OR REPLACE INTO command VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_VERSION = 1

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Loaded:
    """`series` names this file, and `last` is the number of the newest id it ever had: ids never come again."""

    commands: tuple[Command, ...]
    series: str
    last: int
    set_aside: Path | None


class QueueFile:
    """Opened by `load`. Called from threads, one after the other: who gave up waiting for one must not disturb it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def load(self, new_series: str) -> Loaded:
        """`new_series` names a file that has to be made. One that can't be read is set aside. Raises StorageError."""
        try:
            with self._lock:
                return self._open(new_series)
        except (sqlite3.Error, OSError) as why:
            raise StorageError(f"{self._path}: {why}") from why

    def save(self, changed: Mapping[str, Command | None], last: int) -> None:
        """All of it or nothing: raises StorageError. `last` is the number of the newest id."""
        try:
            with self._lock:
                self._save(changed, last)
        except sqlite3.Error as why:
            raise StorageError(f"{self._path}: {why}") from why

    def close(self) -> None:
        with self._lock:
            self._close()

    def _open(self, new_series: str) -> Loaded:
        try:
            return self._load(new_series, None)
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
        self._close()
        aside = self._path.with_name(f"{self._path.name}.corrupt-{new_series}")
        self._path.rename(aside)
        for ending in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                self._path.with_name(self._path.name + ending).unlink()
        return self._load(new_series, aside)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _save(self, changed: Mapping[str, Command | None], last: int) -> None:
        if self._db is None:
            raise StorageError(f"{self._path} is not open")
        with self._db:
            self._db.executemany(_INSERT, [astuple(command) for command in changed.values() if command is not None])
            self._db.executemany(
                "DELETE FROM command WHERE id = ?", [(id_,) for id_, command in changed.items() if command is None]
            )
            self._db.execute("UPDATE series SET last = ?", (last,))

    def _load(self, new_series: str, set_aside: Path | None) -> Loaded:
        db = self._db = sqlite3.connect(self._path, check_same_thread=False)
        self._path.chmod(0o600)  # payloads of commands are nobody else's
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if (verdict := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(verdict)
        if (version := db.execute("PRAGMA user_version").fetchone()[0]) > _VERSION:
            raise sqlite3.OperationalError(f"written by a newer agent (schema {version}, this one knows {_VERSION})")
        db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        with db:
            db.execute("INSERT INTO series SELECT ?, 0 WHERE NOT EXISTS (SELECT 1 FROM series)", (new_series,))
        series, last = db.execute("SELECT name, last FROM series").fetchone()
        return Loaded(tuple(_command(row) for row in db.execute("SELECT * FROM command")), series, last, set_aside)


def _command(row: tuple[object, ...]) -> Command:
    """The inverse of astuple: the fields of Command in their order. Raises ValueError, TypeError for a strange row."""
    id_, scope, actor, device, name, payload, key, *flags_and_rest = row
    at_least_once, kept, answered, *times_and_rest = flags_and_rest
    asked, expires, boot_id, expires_seconds, reply_topic, reply_correlation, state, *rest = times_and_rest
    sent, answer, answer_bytes, ended, owes = rest
    return Command(
        id=_of(str, id_),
        scope=_of(str, scope),
        actor=_of(str, actor),
        device=_of(str, device),
        name=_of(str, name),
        payload=_of(bytes, payload),
        key=_of(str, key),
        at_least_once=bool(at_least_once),
        kept=bool(kept),
        answered_by_device=bool(answered),
        asked_unix_nano=_of(int, asked),
        expires_unix_nano=_of(int, expires),
        boot_id=_of(str, boot_id),
        expires_seconds=_of(float, expires_seconds),
        reply_topic=_of(str, reply_topic),
        reply_correlation=_of(bytes, reply_correlation),
        state=CommandState(_of(str, state)),
        sent=_of(int, sent),
        answer=_of(bytes, answer),
        answer_bytes=_of(int, answer_bytes),
        ended_unix_nano=_of(int, ended),
        owes=_of(int, owes),
    )


def _of(kind: type[_T], value: object) -> _T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
