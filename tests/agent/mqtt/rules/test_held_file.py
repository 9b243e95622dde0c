"""The file of held messages."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import CorruptError, StorageError
from agent.model import DeviceMessage, DeviceValue, Stamp
from agent.mqtt.rules.held_file import HeldFile, open_held
from agent.mqtt.rules.judge import Hold

STAMP = Stamp(11, 22, "boot")
FULL = DeviceMessage(
    "d", "devices/d/é", b"\0\xff", 1, True, "text/plain", (("k", "v"), ("k", "")), b"\x01\xfe", 7, True, "mine",
    (DeviceValue("n", 1.5, "Cel", 9), DeviceValue("n", 2), DeviceValue("f", True), DeviceValue("t", "x")), 8, 99,
)  # fmt: skip


def message(topic: str, payload: bytes = b"x") -> DeviceMessage:
    return DeviceMessage("d", topic, payload)


def taken(held: HeldFile, now: float, *, everything: bool = False) -> list[tuple[str, bytes]]:
    return [(each.topic, each.payload) for _, each in held.take(now, 100, everything=everything)]


def test_a_message_comes_back_whole_with_the_time_when_it_came(tmp_path: Path) -> None:
    held = open_held(tmp_path / "held.db", "e")
    held.put([(FULL, Hold(5.0))], STAMP)
    held.close()
    again = open_held(tmp_path / "held.db", "other")
    assert again.take(0.0, 10, everything=False) == [(1, replace(FULL, stamp=STAMP))]


def test_one_without_a_key_gets_one_that_stays_the_same_and_never_returns(tmp_path: Path) -> None:
    held = open_held(tmp_path / "held.db", "e")
    held.put([(message("a"), Hold(0.0)), (message("a"), Hold(0.0))], STAMP)
    keys = [each.idempotency_key for _, each in held.take(1.0, 10, everything=False)]
    assert keys == ["held-e-1", "held-e-2"]
    held.forget([1, 2])
    held.close()
    held = open_held(tmp_path / "held.db", "other")
    held.put([(message("a"), Hold(0.0))], STAMP)
    assert held.take(1.0, 10, everything=False)[0][1].idempotency_key == "held-e-3"


def test_only_what_is_due_is_taken_oldest_first(tmp_path: Path) -> None:
    held = open_held(tmp_path / "held.db", "e")
    held.put([(message("a"), Hold(9.0)), (message("b"), Hold(5.0)), (message("c"), Hold(4.0))], STAMP)
    assert held.next_due_seconds == 4.0
    assert taken(held, 5.0) == [("b", b"x"), ("c", b"x")]
    assert taken(held, 0.0, everything=True) == [("a", b"x"), ("b", b"x"), ("c", b"x")]


def test_what_came_before_on_the_same_topic_goes_first_also_when_it_is_not_due(tmp_path: Path) -> None:
    held = open_held(tmp_path / "held.db", "e")
    held.put([(message("a", b"1"), Hold(90.0)), (message("b"), Hold(90.0)), (message("a", b"2"), Hold(0.0))], STAMP)
    assert taken(held, 1.0) == [("a", b"1"), ("a", b"2")]


def test_the_newest_takes_the_place_of_the_one_that_waits_and_its_time(tmp_path: Path) -> None:
    held = open_held(tmp_path / "held.db", "e")
    held.put([(message("a", b"1"), Hold(5.0, latest=True)), (message("b"), Hold(5.0))], STAMP)
    size = held.size_bytes
    assert held.put([(message("a", b"2"), Hold(7.0, latest=True))], STAMP) == {"a": 1}
    assert held.size_bytes == size
    assert taken(held, 5.0) == [("b", b"x"), ("a", b"2")]


def test_the_newest_does_not_take_the_place_of_what_waits_for_its_turn(tmp_path: Path) -> None:
    held = open_held(tmp_path / "held.db", "e")
    held.put([(message("a", b"1"), Hold(0.0))], STAMP)
    assert held.put([(message("a", b"2"), Hold(7.0, latest=True))], STAMP) == {}
    assert taken(held, 8.0) == [("a", b"1"), ("a", b"2")]


def test_what_was_replaced_while_it_was_on_its_way_is_not_counted_twice(tmp_path: Path) -> None:
    held = open_held(tmp_path / "held.db", "e")
    held.put([(message("a", b"1"), Hold(0.0, latest=True))], STAMP)
    ((first, _),) = held.take(1.0, 10, everything=False)
    assert held.put([(message("a", b"2"), Hold(9.0, latest=True))], STAMP) == {"a": 1}
    assert held.forget([first]) == {}
    assert held.topics() == {"a": 1}


def test_what_an_earlier_run_held_is_due_at_once_and_replaced_by_nothing(tmp_path: Path) -> None:
    held = open_held(tmp_path / "held.db", "e")
    held.put([(message("a", b"1"), Hold(1e9, latest=True))], STAMP)
    held.close()
    held = open_held(tmp_path / "held.db", "e")
    assert held.next_due_seconds == 0.0 and held.size_bytes > 0
    assert held.put([(message("a", b"2"), Hold(5.0, latest=True))], STAMP) == {}
    assert taken(held, 0.0) == [("a", b"1")]


def test_the_size_is_that_of_what_is_there(tmp_path: Path) -> None:
    held = open_held(tmp_path / "held.db", "e")
    held.put([(message("a", bytes(1000)), Hold(0.0))], STAMP)
    assert 1000 < held.size_bytes < 2000
    assert held.forget([1]) == {"a": 1}
    assert held.size_bytes == 0 and held.next_due_seconds is None


def test_a_refused_write_keeps_nothing(tmp_path: Path) -> None:
    held = open_held(tmp_path / "held.db", "e")
    held.put([(message("a"), Hold(0.0))], STAMP)
    size = held.size_bytes
    (page_count,) = held._db.execute("PRAGMA page_count").fetchone()
    held._db.execute(f"PRAGMA max_page_count = {page_count + 5}")  # as a full disk says it
    with pytest.raises(StorageError, match="full"):
        held.put([(message("b", bytes(2000)), Hold(0.0)) for _ in range(50)], STAMP)
    assert held.topics() == {"a": 1} and held.size_bytes == size


def test_each_commit_is_synced(tmp_path: Path) -> None:
    held = open_held(tmp_path / "held.db", "e")
    assert held._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert held._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_that_makes_no_sense_is_said_to(tmp_path: Path) -> None:
    (tmp_path / "held.db").write_bytes(b"no database" * 100)
    with pytest.raises(CorruptError):
        open_held(tmp_path / "held.db", "e")
    sqlite3.connect(tmp_path / "other.db").execute("PRAGMA user_version = 1")
    with pytest.raises((CorruptError, StorageError)):
        open_held(tmp_path / "other.db", "e")


def test_a_disk_that_refuses_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        open_held(tmp_path / "missing" / "held.db", "e")
