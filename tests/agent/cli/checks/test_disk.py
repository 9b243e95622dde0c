"""agent/cli/checks/disk.py."""

import os
from pathlib import Path

import pytest

from agent.cli.checks import disk
from agent.cli.checks.finding import Box
from agent.clock import Clock
from agent.config.schema import Config, NodeConfig
from agent.errors import AwayError

GIB = 1 << 30


@pytest.mark.parametrize(("free", "level"), [(GIB // 8, "fail"), (4 * GIB, "warn"), (20 * GIB, "ok")])
def test_room_is_compared_with_what_may_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, *real[2:4], free // 4096, *real[5:])))
    (tmp_path / "images").mkdir()
    box = Box(Config(node=NodeConfig(state_dir=tmp_path)), Clock("b", lambda: 0, lambda: 0), AwayError(""))
    assert disk.check(box).level == level


def test_a_directory_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    config = Config(node=NodeConfig(state_dir=tmp_path / "none"))
    assert disk.check(Box(config, Clock("b", lambda: 0, lambda: 0), AwayError(""))).level == "fail"
