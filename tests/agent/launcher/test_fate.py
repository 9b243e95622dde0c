import os
from dataclasses import replace
from pathlib import Path

import pytest

from agent.launcher import execute, fate, interface, monitor, network, plan
from agent.launcher.firewall import Link
from agent.launcher.layout import Host, Places, Tree
from agent.launcher.operation import Plan
from agent.launcher.protocol import NetworkRequest, Usage
from agent.launcher.record import Record, Stage
from tests.fakes.launcher import host

ME = monitor.process(os.getpid())
LIVE = Record("a", "acme", 0, "boot-1", "running", ME, ME, 5, disk_bytes=9)


@pytest.fixture
def here(tmp_path: Path) -> Host:
    places = Places(tmp_path / "state", tmp_path / "run")
    execute.perform(plan.skeleton(places))
    places.run("a").live.mkdir()
    cgroups = Tree("v2", "/jobs", (("", tmp_path / "cg"),), top="/jobs")
    return replace(host(places=places, cgroups=cgroups), runtime=Path("/bin/true"))


@pytest.mark.parametrize("stage", ["starting", "created", "ended", "lost"])
def test_only_a_run_that_stands_can_have_ended(here: Host, stage: Stage) -> None:
    one = replace(LIVE, stage=stage, monitor=monitor.NOBODY)
    assert fate.now(here, one, lambda: 77) is one


def test_a_held_run_whose_monitor_is_gone_is_lost_without_having_begun(here: Host) -> None:
    found = fate.now(here, replace(LIVE, stage="held", monitor=monitor.NOBODY, started_unix_nano=0), lambda: 77)
    assert (found.stage, found.unborn, found.ended_unix_nano) == ("lost", True, 77)
    assert not fate.now(here, replace(LIVE, monitor=monitor.NOBODY), lambda: 77).unborn


def test_the_last_usage_is_kept_with_disk_and_network(here: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "counters", lambda link, job, host: (0, 0) if job.alive() else (3, 4))
    here.places.run("a").exit.write_text("0")
    found = fate.now(here, replace(LIVE, network=NetworkRequest(), job_name="a"), lambda: 77)
    assert found.usage == Usage(0, 0, 0, 0, 0, disk_bytes=9, network_receive_bytes=3, network_transmit_bytes=4)


def test_a_network_is_taken_away_once(here: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    destroyed: list[str] = []

    def destroy(link: Link, host: Host) -> Plan:
        destroyed.append(link.run)
        return ()

    monkeypatch.setattr(network, "destroy", destroy)
    one = replace(LIVE, network=NetworkRequest(), job_name="a")
    pinned = network.netns(here.places, "a")
    pinned.parent.mkdir()
    pinned.touch()
    assert fate.disconnect(here, one)
    pinned.unlink()
    assert not fate.disconnect(here, one)
    assert not fate.disconnect(here, LIVE)
    assert destroyed == ["a"]


@pytest.mark.parametrize(("text", "code"), [("7", 7), ("-1", None), ("", None), ("256", None), ("x", None)])
def test_an_exit_code_is_one_that_means_something(tmp_path: Path, text: str, code: int | None) -> None:
    (tmp_path / "exit").write_text(text)
    assert fate.exit_code(tmp_path / "exit") == code
    assert fate.exit_code(tmp_path / "none") is None


def test_a_tree_is_removed_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (tmp_path / "gone/deep").mkdir(parents=True)
    (tmp_path / "gone/link").symlink_to(tmp_path / "precious")
    fate.remove_tree(tmp_path / "gone")
    fate.remove_tree(tmp_path / "gone")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert (tmp_path / "precious/file").exists()


def test_a_run_of_an_older_launcher_has_its_exit_code_where_that_had_it_put(here: Host) -> None:
    old = here.places.run("a").directory / "persist"
    old.mkdir(parents=True)
    (old / "exit").write_text("7")
    assert fate.now(here, LIVE, lambda: 77).exit_code == 7
