import os
import subprocess
from pathlib import Path

import pytest

from agent.launcher import cgroup
from agent.launcher.layout import Tree
from agent.launcher.protocol import LauncherError, Usage

V2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
HYBRID = """25 1 0:22 / / rw - ext4 /dev/vda rw
30 24 0:25 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 24 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 24 0:27 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd
33 24 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("name", "own", "parent", "top"),
    [
        ("edge-jobs", "0::/system.slice/l.service", "/system.slice/l.service/edge-jobs", "/system.slice/l.service"),
        (
            "edge-jobs",
            "0::/system.slice/l.service/launcher",
            "/system.slice/l.service/edge-jobs",
            "/system.slice/l.service",
        ),
        ("edge-jobs", "0::/", "/edge-jobs", "/"),
        ("/system.slice/t.service", "0::/x", "/system.slice/t.service", "/system.slice/t.service"),
    ],
)
def test_on_v2_runs_live_in_what_was_delegated(name: str, own: str, parent: str, top: str) -> None:
    expected = Tree("v2", parent, (("", Path("/sys/fs/cgroup")),), top=top)
    assert cgroup.find(name, V2, own + "\n") == expected


def test_on_a_hybrid_host_every_hierarchy_is_known_by_its_controllers() -> None:
    tree = cgroup.find("jobs", HYBRID, "0::/\n")
    assert (tree.kind, tree.parent) == ("v1-hybrid", "/jobs")
    names = {name: mount.name for name, mount in tree.mounts}
    assert names == {
        "cpu": "cpu,cpuacct", "cpuacct": "cpu,cpuacct", "memory": "memory", "name=systemd": "systemd",
        "unified": "unified",
    }  # fmt: skip
    assert cgroup.has_memory_controller(tree)


def test_without_cgroups_there_is_no_launcher() -> None:
    with pytest.raises(LauncherError, match="no cgroup hierarchy"):
        cgroup.find("jobs", "25 1 0:22 / / rw - ext4 /dev/vda rw\n", "")


def v2(tmp_path: Path) -> Tree:
    (tmp_path / "jobs/run-a/job").mkdir(parents=True)
    return Tree("v2", "/jobs", (("", tmp_path),), top="/jobs")


def test_usage_is_read_from_v2_files(tmp_path: Path) -> None:
    tree = v2(tmp_path)
    files = {
        "cpu.stat": "usage_usec 1500\nuser_usec 1\n", "memory.current": "99\n",
        "memory.stat": "anon 7\nfile 80\nshmem 3\n",
        "memory.peak": "20\n",
        "pids.current": "3\n", "memory.events": "oom 2\noom_kill 1\n",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / "jobs/run-a/job" / name).write_text(text)
    assert cgroup.usage(tree, "a") == Usage(1_500_000, 10, 20, 3, 1)


def test_usage_is_read_from_v1_files(tmp_path: Path) -> None:
    names = ("cpuacct", "memory", "pids")
    tree = Tree("v1", "/jobs", tuple((name, tmp_path / name) for name in names))
    files = {
        "cpuacct/{}cpuacct.usage": "1500", "memory/{}memory.stat": "total_cache 80\ntotal_rss 7\ntotal_shmem 3\n",
        "memory/{}memory.max_usage_in_bytes": "20",
        "pids/{}pids.current": "3", "memory/{}memory.oom_control": "under_oom 0\noom_kill 1\n",
    }  # fmt: skip
    for name, text in files.items():
        path = tmp_path / name.format("jobs/run-a/job/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cgroup.usage(tree, "a") == Usage(1500, 10, 20, 3, 1)


def test_a_cgroup_that_is_gone_counts_nothing(tmp_path: Path) -> None:
    assert cgroup.usage(v2(tmp_path), "other") == Usage(0, 0, 0, 0, 0)


def test_a_number_that_went_to_another_process_is_not_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = v2(tmp_path)
    with subprocess.Popen(["/bin/sleep", "60"]) as bystander, subprocess.Popen(["/bin/sleep", "60"]) as member:
        procs = tmp_path / "jobs/run-a/job/cgroup.procs"
        procs.write_text(f"{bystander.pid}\n{member.pid}\n")
        opened = os.pidfd_open

        def pidfd_open(pid: int) -> int:
            """The member of that number ended just before, and the bystander got it."""
            procs.write_text(f"{member.pid}\n")
            return opened(pid)

        monkeypatch.setattr(os, "pidfd_open", pidfd_open)
        monkeypatch.setattr(cgroup, "_CLEAR_SECONDS", 0.05)
        cgroup.kill(tree, "/jobs/run-a")
        assert member.wait(10) == -9
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize("name", ["/", "//", ".", "..", "/a/../..", "a//b"])
def test_the_whole_machine_is_no_place_for_runs(name: str) -> None:
    for mounts in (V2, HYBRID):
        with pytest.raises(LauncherError, match="a cgroup of its own"):
            cgroup.find(name, mounts, "0::/x\n")


def test_clearing_takes_the_whole_subtree_and_says_when_it_could_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = v2(tmp_path)
    (tmp_path / "jobs/run-a/monitor").mkdir()
    assert cgroup.clear(tree, "/jobs/run-a")
    assert not (tmp_path / "jobs/run-a").exists()
    assert cgroup.clear(tree, "/jobs/run-a")
    monkeypatch.setattr(cgroup, "_CLEAR_SECONDS", 0.0)
    (tmp_path / "jobs/busy").mkdir()
    (tmp_path / "jobs/busy/file").touch()
    assert not cgroup.clear(tree, "/jobs/busy")


def test_only_controllers_that_are_there_are_given_down(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu pids\n")
    cgroup.enable(tmp_path, ("cpu", "memory", "pids"))
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +pids"


def test_a_parent_that_was_not_delegated_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="was it delegated"):
        cgroup.prepare(v2(tmp_path))
