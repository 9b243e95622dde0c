"""The spool as the loop sees it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.clock import Clock
from agent.errors import StorageError
from agent.model import RecordClass
from agent.spool.record import Draft
from agent.spool.spool import Spool, open_spool

CLOCK = Clock("b" * 36)


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    opened, aside = open_spool(tmp_path / "spool.db", limit_bytes=1 << 20, epoch="e", set_aside=".corrupt", clock=CLOCK)
    assert aside is None
    yield opened
    await opened.close()


def drafts(*texts: str) -> list[Draft]:
    return [Draft(RecordClass.DEVICE, t.encode()) for t in texts]


async def test_appends_that_wait_together_are_committed_together(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    append = spool._journal.append
    monkeypatch.setattr(spool._journal, "append", lambda d, a: append(groups.append(len(d)) or d, a))
    async with asyncio.TaskGroup() as group:
        for i in range(200):
            group.create_task(spool.append(drafts(f"m{i}")))
    assert sum(groups) == 200
    assert len(groups) < 100
    entries = await spool.read(RecordClass.DEVICE, 0, max_records=1000, max_bytes=1 << 20)
    assert [e.payload.decode() for e in entries] == [f"m{i}" for i in range(200)]


async def test_one_that_cannot_be_kept_does_not_take_its_neighbours_down(spool: Spool) -> None:
    async with asyncio.TaskGroup() as group:
        good = [group.create_task(spool.append(drafts(f"m{i}"))) for i in range(20)]
        bad = asyncio.ensure_future(spool.append([Draft(RecordClass.USAGE, b"x" * (2 << 20))]))
        good += [group.create_task(spool.append(drafts(f"n{i}"))) for i in range(20)]
    with pytest.raises(StorageError):
        await bad
    assert spool.view().classes[RecordClass.DEVICE - 1].records == len(good)


async def test_growth_wakes_whoever_waits(spool: Spool) -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(spool.grown())
        group.create_task(spool.append(drafts("a")))


async def test_a_corrupt_file_is_set_aside_and_a_new_spool_begun(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    path.write_bytes(b"scrambled by a dying SD card " * 400)
    spool, aside = open_spool(path, limit_bytes=1 << 20, epoch="e2", set_aside=".corrupt-7", clock=CLOCK)
    assert aside == tmp_path / "spool.db.corrupt-7"
    assert aside.read_bytes().startswith(b"scrambled")
    await spool.append(drafts("a"))
    assert spool.epoch == "e2"
    await spool.close()


async def test_a_disk_that_cannot_be_read_is_the_readers_trouble_only(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying:
        def __init__(self, db: sqlite3.Connection) -> None:
            self._db = db

        def execute(self, text: str, *values: object) -> sqlite3.Cursor:
            if text.startswith("SELECT id, gap_first"):
                raise sqlite3.OperationalError("disk I/O error")
            return self._db.execute(text, *values)  # type: ignore[arg-type]  # what sqlite3 takes

        def __getattr__(self, name: str) -> object:
            return getattr(self._db, name)

    monkeypatch.setattr(spool._journal, "_db", Dying(spool._journal._db))
    async with asyncio.timeout(5):
        with pytest.raises(StorageError, match="disk I/O error"):
            await spool.read(RecordClass.DEVICE, 0, max_records=10, max_bytes=1 << 20)
        await spool.append(drafts("still taken"))


async def test_a_bug_in_a_commit_is_shown_to_its_appender(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(spool._journal, "append", broken)
        async with asyncio.timeout(5):
            with pytest.raises(ZeroDivisionError):
                await spool.append(drafts("a"))
    await spool.append(drafts("b"))


async def test_who_comes_after_the_end_is_refused_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    spool, _ = open_spool(tmp_path / "spool.db", limit_bytes=1 << 20, epoch="e", set_aside=".corrupt", clock=CLOCK)
    await spool.close()
    async with asyncio.timeout(5):
        with pytest.raises(StorageError, match="closed"):
            await spool.append(drafts("late"))
        with pytest.raises(StorageError, match="closed"):
            await spool.ack(RecordClass.DEVICE, 1)


async def test_what_central_has_is_forgotten_with_the_next_commit_or_soon(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[tuple[int, dict[RecordClass, int]]] = []
    append = spool._journal.append
    monkeypatch.setattr(spool._journal, "append", lambda d, a: append(commits.append((len(d), dict(a))) or d, a))
    await spool.append(drafts("a", "b"))
    spool.acknowledge(RecordClass.DEVICE, 1)
    await spool.append(drafts("c"))
    spool.acknowledge(RecordClass.DEVICE, 2)
    async with asyncio.timeout(5):
        while spool.view().classes[RecordClass.DEVICE - 1].records > 1:
            await asyncio.sleep(0.01)
    assert commits == [(2, {}), (1, {RecordClass.DEVICE: 1}), (0, {RecordClass.DEVICE: 2})]


async def test_what_central_has_is_forgotten_also_while_a_backlog_is_read_without_a_pause(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.spool.spool._ACK_SECONDS", 1000.0)
    monkeypatch.setattr("agent.spool.spool._ACK_READS", 10)
    await spool.append(drafts(*map(str, range(30))))
    left: list[int] = []
    for seq in range(30):
        assert len(await spool.read(RecordClass.DEVICE, seq, max_records=1, max_bytes=1 << 20)) == 1
        spool.acknowledge(RecordClass.DEVICE, seq + 1)
        left.append(spool.view().classes[RecordClass.DEVICE - 1].records)
    assert left[8] == 30 and left[15] <= 22 and left[29] <= 12


async def test_what_central_has_is_forgotten_before_the_end(tmp_path: Path) -> None:
    spool, _ = open_spool(tmp_path / "spool.db", limit_bytes=1 << 20, epoch="e", set_aside=".c", clock=CLOCK)
    await spool.append(drafts("a"))
    spool.acknowledge(RecordClass.DEVICE, 1)
    await spool.close()
    spool, _ = open_spool(tmp_path / "spool.db", limit_bytes=1 << 20, epoch="e", set_aside=".c", clock=CLOCK)
    assert spool.view().classes[RecordClass.DEVICE - 1].records == 0
    await spool.close()


async def test_a_reader_gets_everything_once_whether_it_keeps_up_or_not(spool: Spool) -> None:
    found: list[bytes] = []
    total = 3000

    async def read() -> None:
        seq = 0
        while len(found) < total:
            if spool.next_seq(RecordClass.DEVICE) == seq + 1:
                await spool.grown()
                continue
            entries = await spool.read(RecordClass.DEVICE, seq, max_records=7, max_bytes=1 << 20)
            assert [e.seq for e in entries] == list(range(seq + 1, seq + 1 + len(entries)))
            found.extend(e.payload for e in entries)
            seq += len(entries)
            if seq % 3 == 0:
                spool.acknowledge(RecordClass.DEVICE, seq)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(read())
        for number in range(0, total, 20):
            await spool.append(drafts(*(f"m{i}" for i in range(number, number + 20))))
            if number % 100 == 0:  # let the reader catch up, and lag again
                await asyncio.sleep(0)
    assert found == [f"m{i}".encode() for i in range(total)]
