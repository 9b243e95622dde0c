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
