import os
import stat
from pathlib import Path

import pytest

from agent.launcher import execute
from agent.launcher.operation import MakeDirectory, MakeLink, Run, SetCgroup, StartJob, WriteFile, WriteSecrets
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


def test_a_file_that_is_mounted_is_written_in_place(tmp_path: Path) -> None:
    execute.perform((WriteFile(tmp_path / "f", "a longer text", 0o644, in_place=True),))
    before = (tmp_path / "f").stat().st_ino
    execute.perform((WriteFile(tmp_path / "f", "short", 0o644, in_place=True),))
    assert ((tmp_path / "f").read_text(), (tmp_path / "f").stat().st_ino) == ("short", before)
    (tmp_path / "l").symlink_to("f")
    with pytest.raises(OSError, match="symbolic links"):
        execute.perform((WriteFile(tmp_path / "l", "x", 0o644, in_place=True),))


def test_a_command_reads_what_it_is_told_and_its_failure_is_ours(tmp_path: Path) -> None:
    execute.perform((Run(("/bin/sh", "-c", f"cat >{tmp_path}/out"), "told"),))
    assert (tmp_path / "out").read_text() == "told"
    failing = ("/bin/sh", "-c", "cat >/dev/null; echo no such rule >&2; exit 3")
    with pytest.raises(LauncherError, match="rules: no such rule"):
        execute.perform((Run(failing, "x", "rules"),))
    execute.perform((Run(failing, may_fail=True),))


def test_secrets_are_files_of_one_user_and_never_replaced(tmp_path: Path) -> None:
    step = WriteSecrets(tmp_path, os.getuid(), ("A", "B"), (b"1", b""))
    execute.perform((step,))
    assert (tmp_path / "A").read_bytes() == b"1"
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o400}
    with pytest.raises(FileExistsError):
        execute.perform((step,))
