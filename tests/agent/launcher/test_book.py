import errno
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from agent.launcher import book, execute, plan, record
from agent.launcher.book import Book
from agent.launcher.layout import SLOTS, Host, Places
from agent.launcher.protocol import Destination, JobRequest, LauncherError, NetworkRequest, Reach
from agent.launcher.record import Record
from tests.fakes.launcher import FULL, REQUEST, host


@pytest.fixture
def here(tmp_path: Path) -> Host:
    places = Places(tmp_path / "state", tmp_path / "run")
    execute.perform(plan.skeleton(places))
    return host(places=places)


def reserve(mine: Book, request: JobRequest, *, held: bool = False) -> Record:
    return mine.reserve(request, held=held, fingerprint="f")


def test_one_run_is_in_one_hand_at_a_time(here: Host) -> None:
    mine = Book(here, 4)
    done = threading.Event()

    def other() -> None:
        with mine.only("a"):
            done.set()

    with mine.only("a"):
        waiting = threading.Thread(target=other)
        waiting.start()
        assert not done.wait(0.1)
        with mine.idle("a") as found:
            assert found is None
    waiting.join(10)
    assert done.is_set()


def test_nobody_waits_for_ever_for_a_run_in_anothers_hand(here: Host) -> None:
    mine = Book(here, 4, wait_seconds=0.05)
    with mine.only("a"):
        with pytest.raises(LauncherError) as refused, mine.only("a"):
            pass
        assert refused.value.code == "no-room"
    with mine.only("a"):
        pass


def test_a_held_run_that_goes_on_takes_its_place_at_once(here: Host) -> None:
    mine = Book(here, 1)
    held = [replace(reserve(mine, replace(REQUEST, run=name), held=True), stage="held") for name in ("a", "b")]
    for one in held:
        mine.learn(one)
    assert mine.take_place(held[0]).stage == "created"
    with pytest.raises(LauncherError, match="1 runs are running, the most"):
        mine.take_place(held[1])


def test_no_two_runs_have_the_same_slot_and_one_that_is_gone_is_used_again(here: Host) -> None:
    mine = Book(here, 4)
    assert [reserve(mine, replace(REQUEST, run=name)).slot for name in ("a", "b", "c")] == [0, 1, 2]
    mine.forget("b")
    assert reserve(mine, replace(REQUEST, run="d")).slot == 1


def test_held_runs_have_a_slot_and_take_nobodys_place(here: Host) -> None:
    mine = Book(here, 1)
    held = reserve(mine, replace(REQUEST, run="h"), held=True)
    mine.learn(replace(held, stage="held"))
    reserve(mine, REQUEST)
    with pytest.raises(LauncherError, match="1 runs are running, the most"):
        reserve(mine, replace(REQUEST, run="b"))
    with pytest.raises(LauncherError, match="1 runs are running, the most"):
        mine.take_place(held)


def test_slots_can_run_out(here: Host) -> None:
    mine = Book(here, 2)
    for slot in range(SLOTS):
        mine.learn(Record(f"r{slot}", "acme", slot, "boot-1", "ended"))
    with pytest.raises(LauncherError, match="512 runs are kept") as refused:
        reserve(mine, REQUEST)
    assert refused.value.code == "no-room"


def test_a_port_and_a_disk_are_of_one_live_run(here: Host) -> None:
    mine = Book(here, 4)
    first = reserve(mine, FULL)
    again = replace(FULL, run="a.2", disk_bytes=0)
    with pytest.raises(LauncherError, match=r"port 20080 leads to run a\.1"):
        reserve(mine, again)
    with pytest.raises(LauncherError, match=r"the disk of acme/a is in use by run a\.1"):
        reserve(mine, replace(FULL, run="a.2", network=None))
    reserve(mine, replace(FULL, run="b.1", job="b", network=NetworkRequest()))
    mine.learn(replace(first, stage="ended"))
    assert reserve(mine, replace(FULL, run="a.2")).mark > 0


def test_what_all_runs_reach_is_bounded(here: Host) -> None:
    mine = Book(here, 512)
    most = NetworkRequest(reach=Reach(tuple(Destination("192.0.2.0/24", port, "tcp") for port in range(1, 513))))
    for number in range(64):
        reserve(mine, replace(REQUEST, run=f"r{number}", network=most), held=True)
    with pytest.raises(LauncherError, match="runs here reach 32768 destinations") as refused:
        reserve(mine, replace(REQUEST, run="x", network=most), held=True)
    assert refused.value.code == "no-room"
    mine.have_destinations("r5", most)  # instead of its own
    with pytest.raises(LauncherError, match="32768 destinations"):
        mine.have_destinations("y", most)
    reserve(mine, replace(REQUEST, run="y", network=NetworkRequest()))


def test_what_a_live_run_uses_is_not_taken_away(here: Host) -> None:
    mine = Book(here, 4)
    one = reserve(mine, REQUEST)
    with pytest.raises(LauncherError, match=r"it is in use by run a\.1"):
        mine.unless_used(lambda found: found.image == "host", "it")
    mine.learn(replace(one, stage="lost"))
    mine.unless_used(lambda found: found.image == "host", "it")


def test_only_a_full_disk_lets_memory_go_ahead(here: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Book(here, 4)
    number = errno.ENOSPC

    def fail(path: Path, new: Record) -> None:
        raise OSError(number, "x")

    monkeypatch.setattr(record, "write", fail)
    one = Record("a", "acme", 0, "boot-1")
    assert mine.keep_if_room(one) is mine.known("a")
    number = errno.EACCES
    with pytest.raises(OSError, match="x"):
        mine.keep_if_room(one)


def test_the_key_is_of_the_boot_and_for_root_alone(tmp_path: Path) -> None:
    key = book.boot_key(tmp_path / "key")
    assert len(key) == 32
    assert book.boot_key(tmp_path / "key") == key
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
