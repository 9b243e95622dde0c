"""The runner's memory on disk: one SQLite database, one thread that touches it."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from agent.errors import ConfigError, CorruptError, StorageError
from agent.jobs import rows
from agent.jobs.budget import Spending
from agent.jobs.job import Job
from agent.jobs.metering import ChainHead, Meter
from agent.model import Event, UsageSample, UsageSeal

log = logging.getLogger(__name__)

VERSION = 2
_SCHEMAS = Path(__file__).parent
_T = TypeVar("_T")
Reported = Event | UsageSample | UsageSeal


@dataclass(slots=True)
class Change:
    """What one transaction writes. None deletes."""

    jobs: dict[str, Job | None] = field(default_factory=dict[str, Job | None])
    meters: dict[str, Meter | None] = field(default_factory=dict[str, Meter | None])
    heads: dict[str, ChainHead] = field(default_factory=dict[str, ChainHead])
    outbox: list[Reported] = field(default_factory=list[Reported])
    boot_id: str | None = None
    spending: dict[str, Spending] = field(default_factory=dict[str, Spending])

    def is_empty(self) -> bool:
        return not (self.jobs or self.meters or self.heads or self.spending or self.outbox) and self.boot_id is None


@dataclass(frozen=True, slots=True)
class Snapshot:
    jobs: dict[str, Job]
    meters: dict[str, Meter]
    heads: dict[str, ChainHead]
    boot_id: str
    spending: dict[str, Spending] = field(default_factory=dict[str, Spending])


@contextmanager
def _transaction(db: sqlite3.Connection) -> Generator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite has rolled back by itself after some errors
            db.execute("ROLLBACK")
        raise


class JobStore:
    """`open` first, `close` last. Every method raises StorageError when the disk can't, CorruptError when it lies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobs-store")
        self._db: sqlite3.Connection | None = None

    async def open(self, wall_nano: int) -> Snapshot:
        """Load everything. A corrupt database is set aside as `*.corrupt-<wall_nano>`, and an empty one begun.

        Raises ConfigError when a newer agent wrote it.
        """
        return await self._do(lambda: self._open(wall_nano))

    async def commit(self, change: Change) -> None:
        """All of it is on disk, or none of it."""
        await self._do(lambda: self._commit(change))

    async def unsent(self, limit: int) -> tuple[int, Sequence[Reported]]:
        """The oldest of the outbox, and the id to hand to `sent` once they are in the spool."""
        return await self._do(lambda: self._unsent(limit))

    async def sent(self, last_id: int) -> None:
        await self._do(lambda: self._write("DELETE FROM outbox WHERE id <= ?", [(last_id,)]))

    async def close(self) -> None:
        await self._do(self._close)
        self._thread.shutdown(wait=False)

    async def _do(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.OperationalError as error:
            raise StorageError(f"{self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise CorruptError(f"{self._path}: {error}; it is set aside at the next start") from error

    # --- on the thread ---

    def _open(self, wall_nano: int) -> Snapshot:
        try:
            return self._load()
        except (CorruptError, sqlite3.DatabaseError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._close()
            aside = self._path.with_name(f"{self._path.name}.corrupt-{wall_nano}")
            log.critical("job database is corrupt: set aside, starting from the desired state",
                         extra={"path": str(aside), "error": str(error)})  # fmt: skip
            self._path.rename(aside)
            for ending in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    self._path.with_name(self._path.name + ending).unlink()
            return self._load()

    def _load(self) -> Snapshot:
        db = self._db = sqlite3.connect(self._path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise CorruptError(verdict)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise ConfigError(f"{self._path} was written by a newer agent (schema {version}, this one knows {VERSION})")
        for number in range(version + 1, VERSION + 1):
            schema = (_SCHEMAS / f"schema_{number}.sql").read_text()
            db.executescript(f"BEGIN; {schema} PRAGMA user_version = {number}; COMMIT;")
        return Snapshot(
            jobs={id_: rows.job_from_json(text) for id_, text in db.execute("SELECT id, job_json FROM job")},
            meters={run: rows.meter_from_json(text) for run, text in db.execute("SELECT run, meter_json FROM meter")},
            heads={t: ChainHead(i, h) for t, i, h in db.execute("SELECT tenant, last_index, last_hash FROM chain")},
            spending={t: rows.spending_from_json(text) for t, text in db.execute("SELECT * FROM spending")},
            boot_id=dict(db.execute("SELECT key, value FROM meta")).get("boot_id", ""),
        )

    def _commit(self, change: Change) -> None:
        db = self._opened()
        with _transaction(db):
            for id_, job in change.jobs.items():
                if job is None:
                    db.execute("DELETE FROM job WHERE id = ?", (id_,))
                else:
                    db.execute("INSERT OR REPLACE INTO job VALUES (?, ?)", (id_, rows.job_to_json(job)))
            for run, meter in change.meters.items():
                if meter is None:
                    db.execute("DELETE FROM meter WHERE run = ?", (run,))
                else:
                    db.execute("INSERT OR REPLACE INTO meter VALUES (?, ?)", (run, rows.meter_to_json(meter)))
            for tenant, head in change.heads.items():
                db.execute("INSERT OR REPLACE INTO chain VALUES (?, ?, ?)", (tenant, head.index, head.hash))
            for tenant, spending in change.spending.items():
                db.execute("INSERT OR REPLACE INTO spending VALUES (?, ?)", (tenant, rows.spending_to_json(spending)))
            for body in change.outbox:
                db.execute("INSERT INTO outbox (body_json) VALUES (?)", (rows.body_to_json(body),))
            if change.boot_id is not None:
                db.execute("INSERT OR REPLACE INTO meta VALUES ('boot_id', ?)", (change.boot_id,))

    def _unsent(self, limit: int) -> tuple[int, Sequence[Reported]]:
        found = self._opened().execute("SELECT id, body_json FROM outbox ORDER BY id LIMIT ?", (limit,)).fetchall()
        return (found[-1][0] if found else 0), [rows.body_from_json(text) for _, text in found]

    def _write(self, sql: str, parameters: list[tuple[int]]) -> None:
        db = self._opened()
        with _transaction(db):
            db.executemany(sql, parameters)

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise StorageError(f"{self._path} is not open")
        return self._db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
