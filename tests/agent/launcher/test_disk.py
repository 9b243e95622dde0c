import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from agent.launcher import disk
from agent.launcher.layout import Places
from agent.launcher.operation import MakeDirectory, Unmount
from agent.launcher.protocol import DiskState, JobRequest, LauncherError
from agent.launcher.storage import LimitDevice, MakeDisk, MountFile
from tests.fakes.launcher import REQUEST, host

MIB = 1 << 20
WITH_DISK: JobRequest = replace(REQUEST, disk_bytes=64 * MIB)


def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "state", tmp_path / "run")


def test_a_run_without_a_disk_takes_no_step() -> None:
    assert disk.attach(replace(REQUEST, disk_bytes=0), 3, host("v2")) == ()
    assert disk.limit(WITH_DISK, host("v2")) == ()


def test_a_disk_is_made_first_and_mounted_in_the_ids_of_the_run() -> None:
    here = host("v2")
    steps = disk.attach(WITH_DISK, 3, here)
    file = here.places.state_dir / f"disks/{WITH_DISK.tenant}/{WITH_DISK.job}.img"
    assert [step for step in steps if not isinstance(step, MakeDirectory)] == [
        MakeDisk(file, 64 * MIB),
        MountFile(file, disk.mounted(here.places, WITH_DISK.run), read_only=False, first_id=1879048192 + 3 * 65536),
    ]
    assert disk.detach(WITH_DISK.run, here) == (Unmount(disk.mounted(here.places, WITH_DISK.run)),)


def test_io_is_bounded_where_the_hierarchy_has_it() -> None:
    wanted = replace(WITH_DISK, io_bytes_per_second=MIB)
    (step,) = disk.limit(wanted, host("v2"))
    assert isinstance(step, LimitDevice) and [path.name for path in step.files] == ["io.max"]


def test_a_v1_machine_has_a_file_for_each_way_or_says_that_it_has_none() -> None:
    wanted, here = replace(WITH_DISK, io_bytes_per_second=MIB), host("v1")
    with pytest.raises(LauncherError, match="no io controller"):
        disk.limit(wanted, here)
    tree = replace(here.tree, mounts=(*here.tree.mounts, ("blkio", Path("/cg/blkio"))))
    (step,) = disk.limit(wanted, replace(here, tree=tree))
    assert isinstance(step, LimitDevice)
    assert [path.name for path in step.files] == ["blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"]


def test_a_machine_without_an_io_controller_says_so(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    with pytest.raises(LauncherError, match="no io controller"):
        disk.perform(LimitDevice(tmp_path / "p", (tmp_path / "none/io.max",), MIB))


def test_the_bound_names_the_device(tmp_path: Path) -> None:
    files = (tmp_path / "io.max", tmp_path / "blkio.throttle.read_bps_device")
    for path in files:
        path.touch()
    disk.perform(LimitDevice(tmp_path, files, 5))
    assert files[0].read_text().endswith(" rbps=5 wbps=5") and files[1].read_text().endswith(" 5")
    assert ":" in files[0].read_text().split()[0]


def test_only_finished_disks_are_listed(tmp_path: Path) -> None:
    top = tmp_path / "state/disks/acme"
    assert disk.states(places(tmp_path)) == []
    top.mkdir(parents=True)
    (top / "a.img").write_bytes(b"1234")
    (top / "b.partial").touch()
    assert disk.states(places(tmp_path)) == [DiskState("acme", "a", 4)]


def test_a_removed_disk_is_gone_and_so_is_its_tenants_empty_directory(tmp_path: Path) -> None:
    top = tmp_path / "state/disks/acme"
    top.mkdir(parents=True)
    (top / "a.img").touch()
    disk.remove(places(tmp_path), "acme", "a")
    assert not top.exists()
    with pytest.raises(LauncherError, match="no disk of acme/a"):
        disk.remove(places(tmp_path), "acme", "a")


def test_a_fresh_file_system_is_clean_and_one_that_was_cut_off_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.img"
    subprocess.run(["truncate", "-s", "8M", path], check=True)
    assert not disk.is_clean(path)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", path], check=True)
    assert disk.is_clean(path)
    assert disk._file_system_bytes(disk._superblock(path)) == 8 * MIB
    subprocess.run(["/usr/sbin/debugfs", "-w", "-R", "ssv state 0", path], check=True, capture_output=True)
    assert not disk.is_clean(path)


def test_a_disk_that_is_more_than_there_is_is_refused_before_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="the disk has") as caught:
        disk.perform(MakeDisk(tmp_path / "x.img", 1 << 50))
    assert (caught.value.code, caught.value.field) == ("host", "disk")
    assert list(tmp_path.iterdir()) == []
