import errno
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.launcher import cgroup, record
from agent.launcher.adopt import adopt
from agent.launcher.layout import Host
from agent.launcher.policy import Policy
from agent.launcher.protocol import CheckRequest, Destination, LauncherError, Reach
from agent.launcher.record import Record
from tests.fakes.launcher import FULL, REQUEST
from tests.fakes.runs import idle_host, left, runs


@pytest.fixture
def here(tmp_path: Path) -> Host:
    return idle_host(tmp_path)


def test_a_start_that_fails_leaves_nothing(here: Host) -> None:
    with pytest.raises(FileNotFoundError):  # no conmon
        runs(here).start(REQUEST)
    assert list(here.places.runs.iterdir()) == []


def test_a_machine_without_memory_controller_runs_nothing(here: Host) -> None:
    bare = replace(here, facts=replace(here.facts, memory_controller=False))
    with pytest.raises(LauncherError, match="cgroup_enable=memory"):
        runs(bare).start(REQUEST)


def test_without_the_brokers_directory_a_run_that_wants_it_waits_and_others_do_not(here: Host) -> None:
    bare = replace(here, mqtt_dir=here.places.run_dir / "no-broker")
    with pytest.raises(LauncherError, match="no-broker is not there") as refused:
        runs(bare).start(replace(REQUEST, mqtt=True))
    assert refused.value.code == "no-room"  # it passes
    with pytest.raises(FileNotFoundError):  # got past that, to the missing conmon
        runs(bare).start(REQUEST)


def test_only_as_many_run_as_root_allows_and_ended_ones_do_not_count(here: Host) -> None:
    left(here, "a")
    mine = runs(here, Policy(0, max_runs=1))
    adopt(mine, here)
    with pytest.raises(LauncherError) as refused:
        mine.start(REQUEST)
    assert refused.value.code == "no-room"
    here.places.run("a").exit.write_text("0")
    with pytest.raises(FileNotFoundError):  # got past the limit, to the missing conmon
        mine.start(REQUEST)


def test_only_a_run_that_is_over_can_be_removed(here: Host) -> None:
    left(here, "a")
    mine = runs(here)
    adopt(mine, here)
    with pytest.raises(LauncherError) as refused:
        mine.remove("a")
    assert refused.value.code == "conflict"
    here.places.run("a").exit.write_text("0")
    mine.remove("a")
    assert not here.places.run("a").directory.exists()
    for ask in (mine.state, mine.remove, mine.usage, mine.open_log, mine.watch):
        with pytest.raises(LauncherError) as refused:
            ask("a")
        assert refused.value.code == "not-found"


def test_a_log_that_is_a_link_is_not_followed(here: Host) -> None:
    left(here, "a")
    mine = runs(here)
    adopt(mine, here)
    with pytest.raises(LauncherError, match="no log"):
        mine.open_log("a")
    here.places.run("a").log.symlink_to("/etc/shadow")
    with pytest.raises(OSError, match="symbolic links"):
        mine.open_log("a")


def test_a_full_disk_hides_no_run_and_stops_no_launcher(here: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    left(here, "a", code="3")
    left(here, "b", stage="created", code="4")
    left(here, "c")

    def full(path: Path, new: Record) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record, "write", full)
    mine = runs(here)
    adopt(mine, here)
    assert [(state.run, state.exit_code) for state in mine.states()] == [("a", 3), ("b", 4), ("c", None)]
    mine.remove("a")
    assert [state.run for state in mine.states()] == ["b", "c"]


def test_ids_are_kept_while_a_process_of_the_run_lives_on(here: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "_CLEAR_SECONDS", 0.0)
    left(here, "a", code="3")
    left(here, "b", stage="starting")
    for run in ("a", "b"):
        group = here.tree.at("", here.tree.job(run))
        group.mkdir(parents=True)
        (group / "busy").touch()  # a cgroup with somebody in it can't be removed; nor can a directory with a file
    mine = runs(here)
    adopt(mine, here)
    assert mine.state("b").phase == "lost"
    for run in ("a", "b"):
        with pytest.raises(LauncherError, match="can't be ended now") as refused:
            mine.remove(run)
        assert refused.value.code == "host"
        assert here.places.run(run).record.exists()
        (here.tree.at("", here.tree.job(run)) / "busy").unlink()
        mine.remove(run)
    assert mine.states() == []


def test_logs_take_at_most_half_of_what_all_services_share(here: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = runs(here)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_blocks=64, f_frsize=4096))
    with pytest.raises(FileNotFoundError):  # there was room; only conmon is missing
        mine.start(replace(REQUEST, log_bytes=131_072))
    with pytest.raises(LauncherError, match="131072 bytes are left for logs") as refused:
        mine.start(replace(REQUEST, log_bytes=131_073))
    assert refused.value.code == "no-room"
    one = left(here, "a", code="0")
    record.write(here.places.run("a").record, replace(one, log_bytes=100_000))
    adopt(mine, here)
    with pytest.raises(LauncherError, match="31072 bytes are left for logs"):  # ended, and its log still there
        mine.start(replace(REQUEST, log_bytes=65_536))


def test_a_run_can_be_held_only_without_what_is_of_one_run_at_a_time(here: Host) -> None:
    for request in (replace(FULL, network=None), replace(FULL, disk_bytes=0)):
        with pytest.raises(LauncherError, match="not of one that is held") as refused:
            runs(here).hold(request)
        assert refused.value.code == "not-allowed"


def test_a_network_is_asked_for_in_vain_where_none_can_be(here: Host) -> None:
    with pytest.raises(LauncherError, match="can't have a network here") as refused:
        runs(here).start(FULL)
    assert (refused.value.code, refused.value.field) == ("host", "network")


def test_a_hold_that_fails_leaves_nothing(here: Host) -> None:
    with pytest.raises(FileNotFoundError):  # no conmon
        runs(here).hold(REQUEST)
    assert list(here.places.runs.iterdir()) == []


def test_a_list_waits_for_nobody(here: Host) -> None:
    left(here, "a")
    mine = runs(here)
    adopt(mine, here)
    with mine.book.only("a"):
        here.places.run("a").exit.write_text("0")
        assert [state.phase for state in mine.states()] == ["running"]
    assert [state.phase for state in mine.states()] == ["ended"]


def test_only_a_run_with_a_check_that_runs_is_checked(here: Host) -> None:
    left(here, "a")
    mine = runs(here)
    adopt(mine, here)
    with pytest.raises(LauncherError, match="without a health check"):
        mine.check("a")
    mine.book.learn(replace(mine.book.known("a"), check=CheckRequest(tcp_port=1), stage="held"))
    with pytest.raises(LauncherError, match="not running"):
        mine.check("a")


def test_only_a_run_with_a_network_reaches_anything(here: Host) -> None:
    left(here, "a")
    mine = runs(here)
    adopt(mine, here)
    with pytest.raises(LauncherError, match="has no network"):
        mine.reach("a", Reach())
    with pytest.raises(LauncherError, match="destinations: none"):
        runs(here, Policy(0, egress=False)).reach("a", Reach((Destination("192.0.2.0/24", 1, "tcp"),)))
