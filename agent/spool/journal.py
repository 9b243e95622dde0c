"""The spool on disk: SQLite in WAL mode, synchronous=FULL, one thread. Blocking; spool.py keeps it off the loop.

A commit is an fsync of the WAL (https://sqlite.org/pragma.html#pragma_synchronous): what `append` returned from
survives a power cut. Dropped records leave a gap row in place of the last of them, so the order stays gapless.

A record that expired while it waited stays on disk until it is read: then it is told as a gap. Its time is counted by
CLOCK_BOOTTIME, which nobody sets, as long as the boot lasts that recorded it; over a reboot only by the wall clock.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from agent.clock import Clock
from agent.errors import CorruptError, StorageError
from agent.model import RecordClass
from agent.spool import file, retention
from agent.spool.record import (
    EXPIRED,
    FULL,
    GAP_BYTES,
    ROW_OVERHEAD_BYTES,
    Draft,
    Entry,
    Run,
    row_id,
    runs,
    seq_of,
)

# Rows of one INSERT. Each statement gives the interpreter's lock away and takes it back: with one for each row the
# thread and the loop hinder each other at every row.
_ROWS = 25
_INSERT = "INSERT INTO record (id, priority, payload) VALUES (?, ?, ?)"
_INSERT_MANY = _INSERT + ", (?, ?, ?)" * (_ROWS - 1)
_INSERT_EXPIRING = "INSERT INTO record (id, priority, payload, expires, lapses) VALUES (?, ?, ?, ?, ?)"

_NEVER = (None, None)


@dataclass(frozen=True, slots=True)
class Tally:
    """One class. Sequence numbers acked_seq+1..next_seq-1 are in the spool, as records or in gaps."""

    next_seq: int = 1
    acked_seq: int = 0
    dropped: int = 0
    records: int = 0
    held_bytes: int = 0


class Journal:
    """Opened by `open_journal`. Methods raise StorageError when the disk refuses; nothing of that call is then kept."""

    def __init__(self, db: sqlite3.Connection, limit_bytes: int, clock: Clock) -> None:
        self._db = db
        self._limit_bytes = limit_bytes
        self._clock = clock
        self.epoch: str = db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0]
        self.tallies = {c: Tally() for c in RecordClass}
        for number, *sums in db.execute("SELECT record_class, next_seq, acked_seq, dropped, records, bytes FROM class"):
            self.tallies[RecordClass(number)] = Tally(*sums)

    @property
    def held_bytes(self) -> int:
        return sum(t.held_bytes for t in self.tallies.values())

    def close(self) -> None:
        self._db.close()

    def append(self, drafts: Sequence[Draft], acks: Mapping[RecordClass, int] = MappingProxyType({})) -> None:
        """Forget what `acks` says, and give each draft the next number of its class; all durable on return, or none.

        Raises StorageError when there is no room even after dropping what may be dropped.
        """
        with self._transaction() as tallies:
            for record_class, seq in acks.items():
                self._forget(tallies, record_class, seq)
            # Nearly always one or two of the classes; in their order, as who is first to need room decides who gets it.
            for record_class in sorted({d.record_class for d in drafts}):
                mine = [d for d in drafts if d.record_class is record_class]
                size = sum(map(len, [d.payload for d in mine])) + len(mine) * ROW_OVERHEAD_BYTES
                self._make_room(tallies, record_class, size)
                self._insert(tallies, record_class, mine, size)

    def read(self, record_class: RecordClass, after_seq: int, *, max_records: int, max_bytes: int) -> list[Entry]:
        """The next entries behind `after_seq`, neighbours without a hole between them (gaps count for their range)."""
        found: list[Entry] = []
        size = 0
        try:
            rows = self._db.execute(
                "SELECT id, gap_first, payload, expires, lapses FROM record"
                " WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
                (row_id(record_class, after_seq), row_id(record_class, 0) + (1 << 56), max_records),
            )
            with closing(rows):
                for row, gap_first, payload, expires, lapses in rows:
                    entry = Entry(seq_of(row), payload, gap_first, "" if gap_first is None else FULL)
                    if expires is not None and self._expired(expires, lapses):
                        entry = Entry(entry.seq, b"", entry.seq, EXPIRED)
                        if len(found) == 1 and found[0].reason == EXPIRED:
                            found[0] = entry._replace(gap_first=found[0].gap_first)
                            continue
                    cost = len(entry.payload) or GAP_BYTES
                    # A gap behind others starts a batch of its own: the wire wants consecutive numbers.
                    hole = bool(found) and entry.gap_first not in (None, entry.seq)
                    if found and (hole or size + cost > max_bytes):
                        break
                    found.append(entry)
                    size += cost
        except sqlite3.Error as error:
            raise StorageError(f"spool: {error}") from error
        return found

    def ack(self, record_class: RecordClass, seq: int) -> None:
        """Forget everything of the class up to `seq`."""
        self.append([], {record_class: seq})

    def _expired(self, expires: int, lapses: int | None) -> bool:
        if lapses is None:
            return self._clock.wall_nano() >= expires
        return self._clock.boottime_nano() >= lapses

    # --- inside a transaction ------------------------------------------------------------------

    def _forget(self, tallies: dict[RecordClass, Tally], record_class: RecordClass, seq: int) -> None:
        tally = tallies[record_class]
        seq = min(seq, tally.next_seq - 1)
        if seq <= tally.acked_seq:
            return
        count, size = self._remove(record_class, Run(tally.acked_seq + 1, seq))
        tallies[record_class] = replace(
            tally, acked_seq=seq, records=tally.records - count, held_bytes=tally.held_bytes - size
        )

    def _insert(
        self, tallies: dict[RecordClass, Tally], record_class: RecordClass, drafts: list[Draft], size: int
    ) -> None:
        tally = tallies[record_class]
        first, count = row_id(record_class, tally.next_seq), len(drafts)
        if any(d.expires_unix_nano for d in drafts):
            self._insert_expiring(first, drafts)
        else:
            rows = [(row, d.priority, d.payload) for row, d in enumerate(drafts, first)]
            whole = count - count % _ROWS
            for begin in range(0, whole, _ROWS):
                self._db.execute(_INSERT_MANY, list(chain.from_iterable(rows[begin : begin + _ROWS])))
            self._db.executemany(_INSERT, rows[whole:])
        tallies[record_class] = replace(
            tally,
            next_seq=tally.next_seq + count,
            records=tally.records + count,
            held_bytes=tally.held_bytes + size,
        )

    def _insert_expiring(self, first: int, drafts: Sequence[Draft]) -> None:
        ahead = self._clock.boottime_nano() - self._clock.wall_nano()
        lives = [(d.expires_unix_nano, d.expires_unix_nano + ahead) if d.expires_unix_nano else _NEVER for d in drafts]
        rows = [
            (row, d.priority, d.payload, *life) for row, (d, life) in enumerate(zip(drafts, lives, strict=True), first)
        ]
        self._db.executemany(_INSERT_EXPIRING, rows)

    def _make_room(self, tallies: dict[RecordClass, Tally], record_class: RecordClass, need_bytes: int) -> None:
        over = sum(t.held_bytes for t in tallies.values()) + need_bytes - self._limit_bytes
        if over <= 0:
            return
        held = {c: t.held_bytes for c, t in tallies.items()}
        # Choosing whom to drop reads the class: drop a slab at a time, so that a full spool stays cheap.
        slab = over + self._limit_bytes // 50
        plan = retention.victims(slab, for_class=record_class, held_bytes=held)
        plan = plan or retention.victims(over, for_class=record_class, held_bytes=held)
        if plan is None:
            raise StorageError(f"spool is full ({self._limit_bytes} bytes) and nothing older may be dropped")
        for victim, give in plan.items():
            self._drop(tallies, victim, give)

    def _drop(self, tallies: dict[RecordClass, Tally], record_class: RecordClass, give_bytes: int) -> None:
        low, high = row_id(record_class, 0), row_id(record_class, 0) + (1 << 56)
        rows = self._db.execute(
            "SELECT id, length(payload) FROM record WHERE id > ? AND id < ? AND gap_first IS NULL"
            " ORDER BY expires IS NULL OR coalesce(lapses > ?, expires > ?), priority, id",  # what has expired first
            (low, high, self._clock.boottime_nano(), self._clock.wall_nano()),
        )
        chosen: list[int] = []
        with closing(rows):
            for row, size in rows:
                if give_bytes <= 0:
                    break
                chosen.append(seq_of(row))
                give_bytes -= size  # the row's overhead stays with the gap that takes its place
        for run in runs(sorted(chosen)):
            self._leave_gap(tallies, record_class, run)

    def _leave_gap(self, tallies: dict[RecordClass, Tally], record_class: RecordClass, run: Run) -> None:
        dropped = run.last - run.first + 1
        merged = self._neighbour_gaps(record_class, run)
        count, size = self._remove(record_class, merged)
        self._db.execute(
            "INSERT INTO record (id, priority, gap_first, payload) VALUES (?, 9, ?, x'')",
            (row_id(record_class, merged.last), merged.first),
        )
        tally = tallies[record_class]
        tallies[record_class] = replace(
            tally,
            dropped=tally.dropped + dropped,
            records=tally.records - count + 1,
            held_bytes=tally.held_bytes - size + ROW_OVERHEAD_BYTES,
        )

    def _neighbour_gaps(self, record_class: RecordClass, run: Run) -> Run:
        before = self._db.execute(
            "SELECT gap_first FROM record WHERE id = ?", (row_id(record_class, run.first - 1),)
        ).fetchone()
        first = before[0] if before is not None and before[0] is not None else run.first
        after = self._db.execute(
            "SELECT id, gap_first FROM record WHERE id > ? AND id < ? ORDER BY id LIMIT 1",
            (row_id(record_class, run.last), row_id(record_class, 0) + (1 << 56)),
        ).fetchone()
        last = seq_of(after[0]) if after is not None and after[1] == run.last + 1 else run.last
        return Run(first, last)

    def _remove(self, record_class: RecordClass, run: Run) -> tuple[int, int]:
        span = (row_id(record_class, run.first), row_id(record_class, run.last))
        count, size = self._db.execute(
            "SELECT count(*), coalesce(sum(length(payload)), 0) FROM record WHERE id BETWEEN ? AND ?", span
        ).fetchone()
        self._db.execute("DELETE FROM record WHERE id BETWEEN ? AND ?", span)
        return count, size + count * ROW_OVERHEAD_BYTES

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db, self.tallies, self._publish)

    def _publish(self, tallies: dict[RecordClass, Tally]) -> None:
        self.tallies = tallies


class _Transaction:
    """BEGIN, hand out a copy of the tallies, write them back, COMMIT; on any error ROLLBACK and the old ones stay."""

    def __init__(
        self,
        db: sqlite3.Connection,
        tallies: dict[RecordClass, Tally],
        publish: Callable[[dict[RecordClass, Tally]], None],
    ) -> None:
        self._db, self._before, self._publish = db, tallies, publish
        self._now = dict(tallies)

    def __enter__(self) -> dict[RecordClass, Tally]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise StorageError(f"spool: {error}") from error
        return self._now

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            try:
                self._write_tallies()
                self._db.execute("COMMIT")
            except sqlite3.Error as failure:
                self._rollback()
                raise StorageError(f"spool: {failure}") from failure
            self._publish(self._now)
            return
        self._rollback()
        if isinstance(error, sqlite3.Error):
            raise StorageError(f"spool: {error}") from error

    def _write_tallies(self) -> None:
        for record_class, tally in self._now.items():
            if tally != self._before[record_class]:
                self._db.execute(
                    "INSERT OR REPLACE INTO class (record_class, next_seq, acked_seq, dropped, records, bytes)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (record_class, tally.next_seq, tally.acked_seq, tally.dropped, tally.records, tally.held_bytes),
                )

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")


def open_journal(path: Path, *, limit_bytes: int, epoch: str, clock: Clock) -> Journal:
    """The journal at `path`; a new one gets `epoch`, one of an older schema is brought to this one.

    Raises CorruptError when the file is no spool of ours (the caller sets it aside), StorageError when the disk
    refuses.
    """
    db = file.open_file(path, epoch=epoch, boot_id=clock.boot_id)
    try:
        return Journal(db, limit_bytes, clock)
    except sqlite3.OperationalError as error:
        db.close()
        raise StorageError(f"{path}: {error}") from error
    except (sqlite3.DatabaseError, TypeError) as error:
        db.close()
        raise CorruptError(f"{path}: {error}") from error
