"""agent/cli/checks/link.py."""

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.cli.checks import link
from agent.cli.checks.finding import Box
from agent.clock import Clock
from agent.config.schema import Config, NodeConfig
from agent.errors import AwayError
from agent.identity import store


def test_central_away_is_a_warning_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setattr(store, "look", lambda _: SimpleNamespace(control_address=where))
        box = Box(Config(), Clock("b"), AwayError(""))
        assert link.check(box).level == "warn"
        listener.listen()
        assert link.check(box).text == f"{where} answers"


def test_before_enrolment_there_is_no_central(tmp_path: Path) -> None:
    assert link.check(Box(Config(node=NodeConfig(state_dir=tmp_path)), Clock("b"), AwayError(""))).level == "warn"
