"""The accounts' SQLite file: the truth about who may use this store's broker. What is gone here is cut off there."""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.errors import StorageError
from agent.model import Credential, DeviceProtocol
from agent.mqtt.access.accounts import Account, IssuedCertificate

log = logging.getLogger(__name__)

_VERSION = 1
_SCHEMA = """
CREATE TABLE account (
    id TEXT PRIMARY KEY,
    zone TEXT NOT NULL,
    device_class TEXT NOT NULL,
    protocol TEXT NOT NULL,
    group_id TEXT NOT NULL,
    credential TEXT NOT NULL,
    password_generation INTEGER NOT NULL,
    certificate_serial TEXT NOT NULL,
    certificate_not_after_unix_nano INTEGER NOT NULL,
    silent_after_seconds INTEGER NOT NULL,
    created_unix_nano INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE certificate (
    serial TEXT PRIMARY KEY,
    device TEXT NOT NULL,
    not_after_unix_nano INTEGER NOT NULL,
    revoked INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX certificate_device ON certificate (device);
CREATE TABLE generation (next INTEGER NOT NULL);
"""
_DAY_NANO = 86_400 * 1_000_000_000


class AccountsFile:
    """Blocks: call it from a thread, one call at a time. Each call is one transaction, with fsync.

    Certificates are never forgotten, also expired ones (100 bytes each): a clock that once ran ahead would otherwise
    take revoked ones off the list.
    """

    def __init__(self, path: Path, wall_nano: Callable[[], int]) -> None:
        self._path, self._wall_nano = path, wall_nano
        self._open_db: sqlite3.Connection | None = None

    def load(self) -> tuple[Account, ...]:
        """Empty when there is no file. One that makes no sense is set aside, and said so: devices must be added again.

        Raises StorageError when the disk fails, or the file is a newer release's.
        """
        try:
            return self._load()
        except sqlite3.OperationalError as why:
            raise StorageError(f"{self._path}: {why}") from why
        except (sqlite3.DatabaseError, ValueError):
            aside = self._path.with_suffix(".corrupt")
            log.exception("accounts can't be read: every device is cut off until it is added", extra={"aside": aside})
            self.close()
            self._path.replace(aside)
            for rest in ("-wal", "-shm"):
                self._path.with_name(self._path.name + rest).unlink(missing_ok=True)
            return ()

    def put(
        self, accounts: Sequence[Account], certificates: Sequence[IssuedCertificate], disown: Sequence[str]
    ) -> None:
        """Earlier certificates of devices in `disown` are revoked. Raises StorageError; nothing is written then."""
        try:
            db = self._db()
            with db:
                db.executemany("UPDATE certificate SET revoked = 1 WHERE device = ?", [(name,) for name in disown])
                db.executemany(
                    "INSERT OR REPLACE INTO account VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_row, accounts)
                )
                db.executemany(
                    "INSERT OR REPLACE INTO certificate VALUES (?, ?, ?, 0)",
                    [(each.serial, each.device, each.not_after_unix_nano) for each in certificates],
                )
        except (sqlite3.Error, OSError) as why:
            raise StorageError(f"{self._path}: {why}") from why

    def forget(self, device: str) -> None:
        """Its certificates stay, revoked. Raises StorageError."""
        try:
            db = self._db()
            with db:
                db.execute("UPDATE certificate SET revoked = 1 WHERE device = ?", (device,))
                db.execute("DELETE FROM account WHERE id = ?", (device,))
        except (sqlite3.Error, OSError) as why:
            raise StorageError(f"{self._path}: {why}") from why

    def revoked(self, now_unix_nano: int) -> tuple[str, ...]:
        """Serials of revoked certificates that have not expired a day ago. Raises StorageError."""
        try:
            rows = self._db().execute(
                "SELECT serial FROM certificate WHERE revoked = 1 AND not_after_unix_nano >= ? ORDER BY serial",
                (now_unix_nano - _DAY_NANO,),
            )
            return tuple(serial for (serial,) in rows)
        except (sqlite3.Error, OSError) as why:
            raise StorageError(f"{self._path}: {why}") from why

    def take_generations(self, count: int) -> int:
        """The first of `count` numbers that were never given. Raises StorageError."""
        try:
            db = self._db()
            with db:
                (first,) = db.execute("SELECT next FROM generation").fetchone()
                db.execute("UPDATE generation SET next = ?", (first + count,))
        except (sqlite3.Error, OSError) as why:
            raise StorageError(f"{self._path}: {why}") from why
        return int(first)

    def close(self) -> None:
        if self._open_db is not None:
            self._open_db.close()
            self._open_db = None

    def _load(self) -> tuple[Account, ...]:
        return tuple(map(_account, self._db().execute("SELECT * FROM account ORDER BY id")))

    def _db(self) -> sqlite3.Connection:
        if self._open_db is None:
            # One call at a time, but asyncio.to_thread doesn't promise the same thread each time.
            db = sqlite3.connect(self._path, check_same_thread=False)
            try:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=FULL")
                self._migrate(db)
            except BaseException:
                db.close()
                raise
            self._open_db = db
        return self._open_db

    def _migrate(self, db: sqlite3.Connection) -> None:
        """Raises StorageError for a file of a newer release: what it says must not be misread."""
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise StorageError(f"{self._path} is of a newer release (schema {version}, here {_VERSION})")
        if version == _VERSION:
            return
        db.executescript("BEGIN IMMEDIATE")  # `broker prepare` may be at it at the same time
        if db.execute("PRAGMA user_version").fetchone() == (0,):
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            # Numbers go on above any that a lost file may have given: nobody gets a password that was once revoked.
            db.execute("INSERT INTO generation VALUES (?)", (max(1, self._wall_nano() // 1_000_000_000),))
            db.execute(f"PRAGMA user_version = {_VERSION:d}")
        db.commit()


def _row(account: Account) -> tuple[str | int, ...]:
    return (
        account.id,
        account.zone,
        account.device_class,
        account.protocol.value,
        account.group,
        account.credential.value,
        account.password_generation,
        account.certificate_serial,
        account.certificate_not_after_unix_nano,
        account.silent_after_seconds,
        account.created_unix_nano,
    )


def _account(row: tuple[str, str, str, str, str, str, int, str, int, int, int]) -> Account:
    return Account(row[0], row[1], row[2], DeviceProtocol(row[3]), row[4], Credential(row[5]), *row[6:])
