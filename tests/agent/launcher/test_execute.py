import stat
from pathlib import Path

import pytest

from agent.launcher import execute
from agent.launcher.operation import MakeDirectory, MakeLink, SetCgroup, StartJob, WriteFile
from agent.launcher.protocol import LauncherError


def test_a_plan_of_files_can_be_done_twice(tmp_path: Path) -> None:
    steps = (
        MakeDirectory(tmp_path / "a", 0o711),
        MakeDirectory(tmp_path / "a/t", 0o1777),
        WriteFile(tmp_path / "a/f", "text", 0o640),
        MakeLink(tmp_path / "a/l", "usr/bin"),
        SetCgroup(tmp_path / "a/s", "1 2"),
    )
    for _ in range(2):
        execute.perform(steps)
    assert stat.S_IMODE((tmp_path / "a/t").stat().st_mode) == 0o1777
    assert stat.S_IMODE((tmp_path / "a/f").stat().st_mode) == 0o640
    assert (tmp_path / "a/f").read_text() == "text"
    assert (tmp_path / "a/l").readlink() == Path("usr/bin")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["f", "l", "s", "t"]


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    step = WriteFile(tmp_path / "f", "text", 0o640)
    execute.perform((step,))
    before = (tmp_path / "f").stat().st_ino
    execute.perform((step,))
    assert (tmp_path / "f").stat().st_ino == before
    execute.perform((WriteFile(tmp_path / "f", "text", 0o600),))
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    execute.perform((WriteFile(tmp_path / "f", "other", 0o600),))
    assert (tmp_path / "f").read_text() == "other"


def test_a_file_is_replaced_and_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "f").symlink_to("victim")
    execute.perform((WriteFile(tmp_path / "f", "text", 0o600),))
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "f").read_text() == "text"


def test_a_runtime_that_refuses_to_start_says_why() -> None:
    with pytest.raises(LauncherError, match="could not start the job: no"):
        execute.perform((StartJob(("/bin/sh", "-c", "echo no; exit 1")),))
