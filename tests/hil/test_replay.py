"""A recorded disk is read as QEMU writes it, rebuilt as a power cut leaves it, and held against what was promised."""

import json
import random
import struct
from pathlib import Path

import pytest

from agent.clock import Clock
from agent.model import RecordClass
from agent.spool.journal import open_journal
from agent.spool.record import Draft
from hil.replay import check, rebuild, writes
from hil.replay.check import Promise
from hil.replay.marker import Promises
from hil.replay.writes import Entry, LogError
from storeedge.v1 import record_pb2

BLOCK = 4096
SECTOR = 512


def log(path: Path, *entries: tuple[int, bytes, int]) -> Path:
    """(offset, data, flags) each; a discard has a length, but no data."""
    out = bytearray(struct.pack("<QQQI", 0x6A736677736872, 1, len(entries), SECTOR).ljust(SECTOR, b"\0"))
    for offset, data, flags in entries:
        out += struct.pack("<QQQQ", offset // SECTOR, len(data) // SECTOR or 8 * (flags == 4), flags, 0).ljust(
            SECTOR, b"\0"
        )
        out += data
    path.write_bytes(out)
    return path


def write(offset: int, letter: bytes, *, durable: bool = False) -> Entry:
    return Entry(offset, letter * BLOCK, flush=False, durable=durable)


FLUSH = Entry(0, b"", flush=True, durable=False)


def test_writes_flushes_and_durable_writes_are_told_apart_and_discards_left_out(tmp_path: Path) -> None:
    file = log(tmp_path / "log", (BLOCK, b"a" * BLOCK, 0), (0, b"", 4), (0, b"", 1), (SECTOR, b"b" * SECTOR, 2))
    assert list(writes.read(file)) == [
        Entry(BLOCK, b"a" * BLOCK, flush=False, durable=False),
        FLUSH,
        Entry(SECTOR, b"b" * SECTOR, flush=False, durable=True),
    ]


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"x" * 4096):
        (tmp_path / "log").write_bytes(data)
        with pytest.raises(LogError):
            list(writes.read(tmp_path / "log"))


def test_marks_are_what_was_written_behind_the_file_system() -> None:
    mark = Entry(BLOCK, json.dumps({"acked": {"t": 3}, "runs": []}).encode().ljust(BLOCK, b"\0"), False, False)
    assert writes.marks([write(0, b"a"), FLUSH, mark], BLOCK) == [(2, {"acked": {"t": 3}, "runs": []})]


def test_what_was_flushed_is_there_and_of_the_rest_any_part(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.write_bytes(b"0" * 4 * BLOCK)
    entries = [write(0, b"a"), FLUSH, write(BLOCK, b"b"), write(2 * BLOCK, b"c", durable=True), write(0, b"d")]
    seen = set()
    for seed in range(40):
        disk = rebuild.Disk(base, entries, tmp_path)
        assert disk.at(1, random.Random(seed)).read_bytes()[BLOCK:] == b"0" * 3 * BLOCK
        data = disk.at(5, random.Random(seed)).read_bytes()
        assert data[2 * BLOCK :] == b"c" * BLOCK + b"0" * BLOCK
        seen.add((data[:1], data[BLOCK : BLOCK + 1]))
    assert seen == {(b"a", b"0"), (b"a", b"b"), (b"d", b"0"), (b"d", b"b")}


def test_promises_are_read_from_the_brokers_log_and_count_without_a_hole() -> None:
    promises = Promises()
    for number, packet in enumerate((7, 8, 9)):
        promises.read(f"1: Sending PUBLISH to edge-agent (d0, q1, r0, m{packet}, 'devices/a/b', ... (1 bytes))")
        promises.read(f"1: Sending PUBLISH to somebody (d0, q1, r0, m{packet}, 'devices/a/b', ... (1 bytes))")
        assert promises.acked.get("devices/a/b", 0) == 0, number
    promises.read("1: Received PUBACK from somebody (Mid: 7, RC:0)")
    promises.read("1: Received PUBACK from edge-agent (Mid: 8, RC:0)")
    assert promises.acked == {}
    promises.read("1: Received PUBACK from edge-agent (Mid: 7, RC:0)")
    assert promises.acked == {"devices/a/b": 2}


def test_a_promise_is_what_was_marked_before_the_point() -> None:
    marks = [(3, {"acked": {"t": 1}, "runs": ["a.1.1"]}), (9, {"acked": {"t": 5}, "runs": ["a.1.2"]})]
    assert Promise.before(3, marks) == Promise()
    assert Promise.before(4, marks) == Promise({"t": 1}, frozenset({"a.1.1"}))
    assert Promise.before(10, marks) == Promise({"t": 5}, frozenset({"a.1.1", "a.1.2"}))


def test_a_spool_that_lacks_a_promised_message_is_found_and_a_whole_one_is_not(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "spool.db", limit_bytes=1 << 20, epoch="e", clock=Clock(boot_id="b"))
    for number in range(3):
        record = record_pb2.Record()
        record.device.topic, record.device.payload = "t", str(number).encode()
        journal.append([Draft(RecordClass.DEVICE, record.SerializeToString())])
    journal.close()

    def faults(promise: Promise, epoch: str = "e") -> list[str]:
        return [found for found in check.check(tmp_path, promise, epoch) if found.startswith("spool")]

    assert faults(Promise({"t": 3})) == []
    assert faults(Promise({"t": 4})) == ["spool: 1 of 4 acknowledged messages of t are missing, first 3"]
    assert faults(Promise({"t": 3}), "other") == ["spool: another epoch, e"]


def test_a_run_that_was_begun_before_it_was_written_down_is_found(tmp_path: Path) -> None:
    found = check.check(tmp_path, Promise(runs=frozenset({"job.1.2"})), "e")
    assert "jobs: run job.1.2 was begun, and the store knows (0, 0)" in found
