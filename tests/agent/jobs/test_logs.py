"""Logs: conmon's format, torn anywhere, begun anew, followed to the end."""

import asyncio
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AwayError, RefusedError
from agent.jobs import logs as module
from agent.jobs.logs import LINE_BYTES, Lines, parse_time, read
from agent.model import LogLine

TIME = b"2026-01-02T03:04:05.000000006+00:00"
OPEN = Path("/proc/self/fd")
NANO = 1767323045000000006


def raw(text, stream=b"stdout", tag=b"F"):
    return b" ".join((TIME, stream, tag, text)) + b"\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"2026-01-02T03:04:05.000000006+00:00", NANO),
        (b"2026-01-02T03:04:05.000000006Z", NANO),
        (b"2026-01-02T05:04:05.000000006+02:00", NANO),
        (b"2026-01-02T03:04:05.5Z", NANO - 6 + 500_000_000),
        (b"2026-01-02T03:04:05Z", NANO - 6),
        (b"2026-01-02T03:04:05", None),
        (b"yesterday", None),
        (b"", None),
        ("2026-01-02T03:04:05.٣Z".encode(), None),
    ],
)
def test_times_are_read_to_the_nanosecond(text, expected) -> None:
    assert parse_time(text) == expected


def test_parts_are_joined_within_their_stream() -> None:
    data = raw(b"one ", tag=b"P") + raw(b"err", b"stderr") + raw(b"line")
    assert Lines().feed(data) == [LogLine(NANO, True, b"err"), LogLine(NANO, False, b"one line")]


def test_a_line_without_end_is_cut_into_bounded_ones() -> None:
    lines = Lines()
    got = [line for _ in range(10) for line in lines.feed(raw(b"x" * 8192, tag=b"P"))] + lines.rest()
    assert max(len(line.text) for line in got) <= LINE_BYTES
    assert sum(len(line.text) for line in got) == 81920


def test_what_is_not_conmons_is_left_out() -> None:
    assert Lines().feed(b"nonsense\n\n" + raw(b"x", b"stdin") + raw(b"", tag=b"F") + b"\xff\xfe\n") == [
        LogLine(NANO, False, b"")
    ]


TEXTS = st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=10)


@given(TEXTS, st.lists(st.integers(1, 40), min_size=1))
def test_however_the_file_is_torn_the_lines_are_whole(texts, sizes) -> None:
    data, lines, got, turn = b"".join(map(raw, texts)), Lines(), [], 0
    while data:
        size = sizes[turn % len(sizes)]
        got += lines.feed(data[:size])
        data, turn = data[size:], turn + 1
    assert [line.text for line in got] == texts


class Log:
    """A log as the launcher hands it out: `begin_anew` puts a new file in its place, as conmon does."""

    def __init__(self, path):
        self.path, self.over, self.removed, self.away = path, False, False, 0
        path.touch()

    def write(self, *texts):
        with self.path.open("ab") as file:
            file.write(b"".join(map(raw, texts)))

    def begin_anew(self):
        fresh = self.path.with_suffix(".tmp")
        fresh.touch()
        fresh.rename(self.path)

    async def open(self):
        if self.away:
            self.away -= 1
            raise AwayError("launcher")
        if self.removed:
            raise RefusedError("NOT_FOUND", "no run")
        return os.open(self.path, os.O_RDONLY)

    def read(self, tail=1 << 20, follow=False):
        return read(self.open, tail, follow=follow, ended=lambda: self.over)


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "log")


async def everything(lines):
    return [line.text async for batch in lines for line in batch]


async def test_a_tail_begins_with_a_whole_line(log) -> None:
    log.write(b"first", b"second", b"third")
    assert await everything(log.read(tail=len(raw(b"third")) + 3)) == [b"third"]
    assert await everything(log.read(tail=1 << 20)) == [b"first", b"second", b"third"]
    assert await everything(log.read(tail=0)) == []


async def test_a_tail_that_begins_exactly_at_a_line_loses_none(log) -> None:
    log.write(b"first", b"second", b"third")
    assert await everything(log.read(tail=len(raw(b"second") + raw(b"third")))) == [b"second", b"third"]


async def next_texts(lines):
    async with asyncio.timeout(5):
        return [line.text for line in await anext(lines)]


async def test_a_follower_survives_a_new_file_and_a_truncated_one(log) -> None:
    log.write(b"one")
    lines = log.read(follow=True)
    assert await next_texts(lines) == [b"one"]
    log.write(b"two")
    log.begin_anew()
    log.write(b"three")
    assert await next_texts(lines) == [b"two"]
    assert await next_texts(lines) == [b"three"]
    log.path.write_bytes(b"")
    waiting = asyncio.ensure_future(next_texts(lines))
    await asyncio.sleep(0.25)  # longer than a poll: the shrunk file has been seen
    log.write(b"four")
    assert await waiting == [b"four"]
    log.over = True
    assert await everything(lines) == []


async def test_a_follower_reads_what_was_written_last_before_it_ends(log) -> None:
    lines = log.read(follow=True)
    log.write(b"last")
    log.over = True
    assert await everything(lines) == [b"last"]


async def test_a_follower_of_a_removed_run_just_ends(log) -> None:
    log.write(b"last")
    lines = log.read(follow=True)
    assert await next_texts(lines) == [b"last"]
    log.path.unlink()
    log.removed = True
    assert await everything(lines) == []


async def test_leaving_early_closes_the_file(log) -> None:
    log.write(b"one")
    before = len(list(OPEN.iterdir()))
    lines = log.read(follow=True)
    await next_texts(lines)
    await lines.aclose()
    assert len(list(OPEN.iterdir())) == before


async def test_a_reader_who_stops_reading_costs_little_and_keeps_no_old_file(log, monkeypatch) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.05)
    log.write(*[b"x" * 1000] * 300)
    lines = log.read(follow=True)
    tracemalloc.start()
    try:
        await anext(lines)
        before = len(list(OPEN.iterdir()))
        for n in range(20):  # the job writes on, and its log begins anew again and again
            log.begin_anew()
            log.write(*[b"%d " % n + b"y" * 1000] * 300)
            await asyncio.sleep(0.005)
        held, _ = tracemalloc.get_traced_memory()
        assert held < 1 << 20
    finally:
        tracemalloc.stop()
    assert len(list(OPEN.iterdir())) == before - 1, "the file that is no more was let go"
    seen = await next_texts(lines)
    assert seen[0].startswith(b"19 "), "what came first in the newest file"
    log.over = True
    rest = await everything(lines)
    assert len(seen) + len(rest) == 300


async def test_a_reader_who_comes_back_to_the_same_file_misses_nothing(log, monkeypatch) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.01)
    log.write(*[b"%04d" % n for n in range(5000)])
    lines = log.read(follow=True)
    seen = await next_texts(lines)
    await asyncio.sleep(0.05)
    log.over = True
    seen += await everything(lines)
    assert [int(text) for text in seen] == list(range(5000))


async def test_a_launcher_that_is_away_is_waited_for(log, monkeypatch) -> None:
    monkeypatch.setattr(module, "_AWAY_SECONDS", 0.01)
    log.write(b"one")
    lines = log.read(follow=True)
    assert await next_texts(lines) == [b"one"]
    log.away = 3
    log.begin_anew()
    log.write(b"two")
    assert await next_texts(lines) == [b"two"]
    assert log.away == 0


async def test_a_file_that_is_no_log_is_not_collected(log) -> None:
    log.path.write_bytes(b"z" * (1 << 20) + b"\n" + raw(b"after"))
    lines = log.read()
    assert await everything(lines) == [b"after"]


def test_a_line_without_end_in_the_file_is_not_kept() -> None:
    lines = Lines()
    assert lines.feed(raw(b"before") + b"z" * 300_000) == [LogLine(NANO, False, b"before")]
    for _ in range(64):
        assert lines.feed(b"z" * 65536) == []
        assert len(lines._raw) <= 4 * LINE_BYTES
    assert lines.feed(b"\n" + raw(b"after")) == [LogLine(NANO, False, b"after")]
