"""Disks."""

import psutil
import pytest

from agent.telemetry.collectors import disk


@pytest.mark.parametrize(
    "name",
    ["loop0", "ram1", "zram0", "sda1", "vda15", "nvme0n1p2", "mmcblk0p1", "mmcblk0boot0", "mmcblk0rpmb", "fd0"],
)
def test_parts_of_disks_and_what_is_no_disk_are_left_out(name: str) -> None:
    assert disk._NOT_A_DISK.fullmatch(name)


@pytest.mark.parametrize("name", ["sda", "vdb", "xvda", "nvme0n1", "mmcblk0", "dm-0", "md127", "sdaa"])
def test_whole_disks_are_kept(name: str) -> None:
    assert not disk._NOT_A_DISK.fullmatch(name)


def test_this_hosts_disks_are_a_part_of_what_the_kernel_lists() -> None:
    assert disk.read().keys() <= psutil.disk_io_counters(perdisk=True).keys()
