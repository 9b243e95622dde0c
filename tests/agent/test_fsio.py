"""agent/fsio.py."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import fsio


def test_a_file_is_replaced_whole_with_the_mode_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text("old")
    file.chmod(0o644)
    fsio.write_atomic(file, b"new")
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o600
    fsio.write_atomic(file, b"new", mode=0o640)
    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["key.pem"]


def test_a_stale_temporary_file_of_a_crash_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".state.new").write_text("half, and longer than what comes now")
    fsio.write_atomic(tmp_path / "state", b"whole")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("state", "whole")]


@pytest.mark.parametrize("step", ["fsync", "fchmod"])
def test_a_failing_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "state"
    file.write_text("old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        fsio.write_atomic(file, b"new")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("state", "old")]


def test_content_is_on_disk_before_its_name_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(fd: int) -> None:
        order.append("directory" if Path(f"/proc/self/fd/{fd}").resolve().is_dir() else "file")
        fsync(fd)

    def replaced(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    fsio.write_atomic(tmp_path / "state", b"new")
    assert order == ["file", "rename", "directory"]


@pytest.mark.parametrize("call", [fsio.sync_directory, lambda path: fsio.write_atomic(path / "state", b"")])
def test_a_missing_directory_is_an_error(tmp_path: Path, call: Callable[[Path], None]) -> None:
    with pytest.raises(FileNotFoundError):
        call(tmp_path / "missing")
