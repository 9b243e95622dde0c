from pathlib import Path

import pytest

from agent.launcher import loop
from agent.launcher.protocol import LauncherError


def test_a_file_without_a_device_is_not_in_use(tmp_path: Path) -> None:
    (tmp_path / "x.img").touch()
    assert not loop.in_use(tmp_path / "x.img")


def test_a_link_is_never_taken_for_a_disk(tmp_path: Path) -> None:
    (tmp_path / "x.img").symlink_to(__file__)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        loop.in_use(tmp_path / "x.img")


def test_a_machine_without_loop_devices_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_CONTROL", tmp_path / "nowhere")
    (tmp_path / "x.img").touch()
    with pytest.raises(LauncherError, match="modprobe loop"), loop.device(tmp_path / "x.img", read_only=True):
        pass


def test_the_structures_are_as_large_as_the_kernels() -> None:
    assert (loop._INFO.size, loop._CONFIG.size) == (232, 304)  # <linux/loop.h>
