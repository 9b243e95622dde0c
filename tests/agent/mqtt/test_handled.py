"""What was handled is known, over a kill, for long enough and not too long."""

import errno
import os

import pytest

from agent.mqtt import handled
from agent.mqtt.handled import KEPT, Handled, mark


@pytest.fixture
def make(tmp_path):
    made = []

    def one():
        made.append(Handled(tmp_path / "handled"))
        made[-1].open()
        return made[-1]

    yield one
    for each in made:
        each.close()


def test_a_mark_is_of_packet_id_topic_and_payload():
    marks = {mark(1, "t", b"p"), mark(2, "t", b"p"), mark(1, "u", b"p"), mark(1, "t", b"q"), mark(1, "tp", b"")}
    assert len(marks) == 4  # where the topic ends doesn't show, and nothing hangs on it
    assert max(marks) < 1 << 48


def test_what_was_noted_is_known_also_to_the_next_run(make):
    one = make()
    one.note([1, 2])
    one.note([3])
    assert all(map(one.has, (1, 2, 3))) and not one.has(4)
    after_a_kill = make()
    assert all(map(after_a_kill.has, (1, 2, 3))) and not after_a_kill.has(4)


def test_what_is_noted_after_it_was_asked_for_is_known_too(make):
    one = make()
    for number in range(5):
        assert not one.has(number)
        one.note([number])
        assert one.has(number)
    one.note([77])
    one.note([78])
    assert one.has(77) and one.has(78)


@pytest.mark.parametrize("again", [False, True])
def test_the_newest_are_known_and_the_oldest_are_forgotten_before_packet_ids_come_again(make, again):
    one = make()
    for begin in range(0, 200_000, 1000):
        one.note(range(begin, begin + 1000))
        if again and begin % 7000 == 0:
            one.close()
            one = make()
    assert all(map(one.has, range(200_000 - KEPT, 200_000)))
    assert not any(map(one.has, range(200_000 - 65_535)))
    assert one._path.stat().st_size <= 8 * 65_535


def test_a_new_session_knows_nothing_of_the_old_one(make):
    one = make()
    one.note([1])
    one.forget()
    assert not one.has(1)
    one.note([2])
    assert make().has(2) and not make().has(1)


def test_a_cut_file_costs_only_what_was_cut(make, tmp_path):
    make().note([1, 2, 3])
    os.truncate(tmp_path / "handled", 21)
    one = make()
    assert one.has(1) and one.has(2) and not one.has(3)
    one.note([4])
    assert make().has(4)


def test_without_its_file_it_remembers_for_one_life_and_says_so_once(tmp_path, caplog):
    one = Handled(tmp_path / "nowhere" / "handled")
    one.open()
    one.note([1])
    one.note([2])
    one.forget()
    one.note([3])
    assert one.has(3) and not one.has(1)
    assert len(caplog.records) == 1
    one.close()


def test_a_full_disk_is_said_once_and_leaves_whole_marks(make, monkeypatch, caplog):
    one = make()
    one.note([1])

    def full(fd, data):
        write(fd, bytes(data)[:11])
        return 11

    def none(_fd, _data):
        raise OSError(errno.ENOSPC, "disk full")

    write = os.write
    monkeypatch.setattr(handled.os, "write", full)
    one.note([2, 3])
    monkeypatch.setattr(handled.os, "write", none)
    one.note([4])
    one.forget()
    assert len(caplog.records) == 1
    monkeypatch.undo()
    one.note([5])
    assert make().has(5)


def test_a_batch_that_was_noted_last_is_known_as_far_as_it_went(make):
    one = make()
    one.note([1, 2, 3, 4, 5])
    assert one.repeated([3, 4, 5, 6, 7]) == 3
    assert one.repeated([1, 2, 3, 4, 5]) == 5
    assert one.repeated([5]) == 1
    assert one.repeated([3, 4, 6]) == one.repeated([9]) == one.repeated([]) == 0
    assert make().repeated([4, 5, 6]) == 2
