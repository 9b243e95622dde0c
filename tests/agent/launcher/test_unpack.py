from dataclasses import replace
from pathlib import Path

import pytest

from agent.launcher import unpack
from agent.launcher.image import Order
from agent.launcher.layout import Places
from agent.launcher.manifest import ImageError
from agent.launcher.protocol import LauncherError
from tests.fakes.launcher import host

NAME = "sha256:" + "a" * 64
MIB = 1 << 20


def work(tmp_path: Path, most: int = 64 * MIB) -> unpack._Work:
    here = replace(host("v2"), places=Places(tmp_path / "state", tmp_path / "run"))
    (tmp_path / "run/unpack").mkdir(parents=True, exist_ok=True)
    return unpack._Work(Order(NAME, here, tmp_path / "agent", most, 1.0, 1))


def test_umocis_last_word_is_found_however_its_lines_are_cut(tmp_path: Path) -> None:
    one, log = work(tmp_path), tmp_path / "run/unpack/log"
    assert one._said() == ""
    said = "2026-01-01T00:00:00Z stderr"
    log.write_text(f"{said} P    \u2a2f create rootfs: unpack layer: unpack entry: x: too bad\n{said} F \n")
    assert one._said() == "unpack entry: x: too bad"
    log.write_text(f"{said} F first\n{said} F second: no space\nhalf")
    assert one._said() == "second: no space"


def test_a_full_file_system_is_the_images_fault_only_when_it_was_as_large_as_allowed(tmp_path: Path) -> None:
    one = work(tmp_path)
    refused = one._full(64 * MIB)
    assert isinstance(refused, ImageError)
    assert str(refused) == "unpacks to more than 67108864 bytes or 4096 files, the most on this machine"
    hosts = one._full(10 * MIB)
    assert isinstance(hosts, LauncherError) and (hosts.code, hosts.field) == ("host", "disk")


def test_layers_that_the_disk_has_no_room_for_are_not_begun(tmp_path: Path) -> None:
    one = work(tmp_path)
    one._order.partial.mkdir(parents=True)
    with pytest.raises(LauncherError, match="the disk has room for"):
        one._need_room(1 << 60)


def test_what_is_not_there_is_absent_and_leaves_nothing(tmp_path: Path) -> None:
    one = work(tmp_path)
    with pytest.raises(unpack.blobs.AbsentError):
        one.make()
    assert not one._order.partial.exists()
