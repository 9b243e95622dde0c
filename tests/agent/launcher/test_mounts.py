import os
from pathlib import Path

import pytest

from agent.launcher import mounts


def test_where_nothing_is_mounted_there_is_nothing_to_do(tmp_path: Path) -> None:
    if os.getuid() == 0:
        mounts.unmount(tmp_path)
    mounts.unmount(tmp_path / "none")


def test_a_mount_that_fails_names_its_place(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none") as failed:
        mounts.mount("tmpfs", tmp_path / "none", "tmpfs", 0)
    assert failed.value.filename == str(tmp_path / "none")
