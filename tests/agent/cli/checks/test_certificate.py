"""agent/cli/checks/certificate.py."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.cli.checks import certificate
from agent.cli.checks.finding import Box
from agent.clock import Clock
from agent.config.schema import Config, NodeConfig
from agent.errors import AwayError
from agent.identity import store

DAY = 86_400 * 10**9


@pytest.mark.parametrize(
    ("now_days", "level", "text"),
    [
        (5, "ok", "25 days left"),
        (27, "warn", "3.0 days left"),
        (31, "fail", "expired 1.0 days ago"),
        (-1, "fail", "yet"),
    ],
)
def test_dates_are_judged(monkeypatch: pytest.MonkeyPatch, now_days: int, level: str, text: str) -> None:
    identity = SimpleNamespace(spiffe_id="spiffe://x", not_before_unix_nano=0, not_after_unix_nano=30 * DAY)
    monkeypatch.setattr(store, "look", lambda _: identity)
    found = certificate.check(Box(Config(), Clock("b", lambda: now_days * DAY, lambda: 0), AwayError("")))
    assert (found.level, text in found.text) == (level, True)


def test_a_box_that_is_not_enrolled_is_told_how(tmp_path: Path) -> None:
    config = Config(node=NodeConfig(state_dir=tmp_path))
    found = certificate.check(Box(config, Clock("b", lambda: 0, lambda: 0), AwayError("")))
    assert (found.level, "edge-agent enrol" in found.remedy) == ("fail", True)
