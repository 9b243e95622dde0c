from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from agent.launcher import interface, network, record
from agent.launcher.adopt import adopt, purge
from agent.launcher.firewall import Link
from agent.launcher.layout import Host
from agent.launcher.monitor import Process
from agent.launcher.operation import Plan
from agent.launcher.protocol import NetworkRequest, Usage
from agent.launcher.record import Stage
from tests.fakes.runs import GONE, ME, idle_host, left, runs


@pytest.fixture
def here(tmp_path: Path) -> Host:
    return idle_host(tmp_path)


def test_a_running_run_is_found_again(here: Host) -> None:
    one = left(here, "a")
    mine = runs(here)
    adopt(mine, here)
    assert mine.state("a") == one.state()
    assert [state.run for state in mine.states()] == ["a"]


def test_a_run_that_ended_while_nobody_was_there_has_its_code(here: Host) -> None:
    left(here, "a", holder=GONE, code="42")
    mine = runs(here)
    adopt(mine, here)
    state = mine.state("a")
    assert (state.phase, state.exit_code, state.pid) == ("ended", 42, 0)
    assert state.ended_unix_nano == here.places.run("a").exit.stat().st_mtime_ns
    assert mine.usage("a") == Usage(0, 0, 0, 0, 0)
    assert mine.watch("a") == (state, None)
    assert (found := record.read(here.places.run("a").record)) is not None
    assert found.stage == "ended"


@pytest.mark.parametrize(("holder", "boot", "code"), [(GONE, "boot-1", ""), (ME, "boot-0", ""), (GONE, "boot-1", "-1")])
def test_a_run_without_monitor_and_code_is_lost(here: Host, holder: Process, boot: str, code: str) -> None:
    left(here, "a", holder=holder, boot=boot, code=code)
    mine = runs(here)
    adopt(mine, here)
    state = mine.state("a")
    assert (state.phase, state.exit_code, state.ended_unix_nano) == ("lost", None, 77)


@pytest.mark.parametrize("stage", ["starting", "created"])
def test_a_start_that_was_cut_short_leaves_nothing(here: Host, stage: Stage) -> None:
    left(here, "a", stage=stage)
    (here.places.runs / "b").mkdir()  # a crash before its record
    mine = runs(here)
    adopt(mine, here)
    assert mine.states() == []
    assert list(here.places.runs.iterdir()) == []


def test_a_created_run_that_ran_is_kept(here: Host) -> None:
    left(here, "a", stage="created", code="3")
    mine = runs(here)
    adopt(mine, here)
    assert mine.state("a").exit_code == 3


def test_purge_takes_its_own_things_and_nothing_else(here: Host) -> None:
    left(here, "a")
    (here.places.state_dir / "precious").touch()
    purge(runs(here), here)
    assert [path.name for path in here.places.state_dir.iterdir()] == ["precious"]
    assert not here.places.run_dir.exists()


def test_a_held_run_waits_on_and_is_gone_after_a_reboot_or_with_its_monitor(here: Host) -> None:
    left(here, "a", stage="held")
    left(here, "b", stage="held", boot="boot-0")
    left(here, "c", stage="held", holder=GONE)
    mine = runs(here)
    adopt(mine, here)
    assert [(state.run, state.phase) for state in mine.states()] == [("a", "held")]


def test_the_rules_are_made_anew_for_the_runs_that_live(here: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[list[str]] = []

    def prepare(links: Sequence[Link], host: Host) -> Plan:
        prepared.append([link.run for link in links])
        return ()

    monkeypatch.setattr(network, "prepare", prepare)
    monkeypatch.setattr(network, "peers", lambda links, host: ())
    monkeypatch.setattr(interface, "counters", lambda link, pid, host: (0, 0))
    pinned = network.netns(here.places, "a")
    pinned.parent.mkdir()
    pinned.symlink_to("/proc/self/ns/net")  # ours is what the run's would be
    for run, code in (("a", ""), ("b", "0")):
        one = left(here, run, code=code)
        record.write(here.places.run(run).record, replace(one, network=NetworkRequest(), job_name=run))
    adopt(runs(here), replace(here, facts=replace(here.facts, network=True)))
    assert prepared == [["a"]]


def test_a_purge_leaves_the_machine_a_router_that_was_none_of_ours(here: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[Host] = []

    def forget(host: Host) -> Plan:
        forgotten.append(host)
        return ()

    monkeypatch.setattr(network, "forget", forget)
    purge(runs(here), here)
    assert forgotten == []
    here.places.run_dir.mkdir(parents=True, exist_ok=True)
    network.marker(here.places).touch()
    purge(runs(here), here)
    assert forgotten == [here]


def test_half_a_disk_that_nobody_may_ask_for_again_gives_its_room_back(here: Host) -> None:
    disks = here.places.state_dir / "disks/acme"
    disks.mkdir(parents=True)
    for name in ("a.img", "b.partial"):
        (disks / name).touch()
    adopt(runs(here), here)
    assert [path.name for path in disks.iterdir()] == ["a.img"]
