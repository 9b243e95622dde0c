"""agent/cli/checks/clock.py."""

from pathlib import Path

import pytest

from agent.cli.checks import clock
from agent.cli.checks.finding import Box
from agent.clock import Clock
from agent.config.schema import Config
from agent.errors import AwayError


@pytest.mark.parametrize(
    ("seconds", "kept", "level"), [(0, True, "fail"), (1_790_000_000, False, "warn"), (1_790_000_000, True, "ok")]
)
def test_a_clock_is_right_and_kept_so(tmp_path: Path, seconds: int, kept: bool, level: str) -> None:
    if kept:
        (tmp_path / "run/systemd/timesync").mkdir(parents=True)
        (tmp_path / "run/systemd/timesync/synchronized").touch()
    box = Box(Config(), Clock("b", lambda: seconds * 10**9, lambda: 0), AwayError(""), tmp_path)
    assert clock.check(box).level == level
