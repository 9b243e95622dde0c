"""agent/cli/checks/first_boot.py."""

from pathlib import Path

from agent.cli.checks import first_boot
from agent.cli.checks.finding import Box, Finding
from agent.cli.first_boot import Note
from agent.clock import Clock
from agent.config.schema import Config, NodeConfig
from agent.errors import AwayError


def finding(state: Path) -> Finding:
    return first_boot.check(Box(Config(node=NodeConfig(state_dir=state)), Clock("b"), AwayError("")))


def test_why_a_file_did_not_enrol_this_box_is_told_with_what_to_do(tmp_path: Path) -> None:
    assert finding(tmp_path) == Finding("ok", "none was ever tried")
    note = Note(tmp_path, b"", "/boot/edge-agent-enrol.toml", Clock("b", wall_nano=lambda: 0))
    note.take("refused", "/boot/edge-agent-enrol.toml: central: is missing")
    assert finding(tmp_path).level == "fail"
    assert finding(tmp_path).text == "1970-01-01T00:00:00Z: /boot/edge-agent-enrol.toml: central: is missing"
    assert finding(tmp_path).remedy.startswith("mend edge-agent-enrol.toml")
    note.take("waiting", "central can't be reached")
    assert "network cable" in finding(tmp_path).remedy
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity/current").symlink_to("000001")
    assert finding(tmp_path).level == "ok"
    note.take("enrolled", "spiffe://x")
    assert finding(tmp_path) == Finding("ok", "/boot/edge-agent-enrol.toml enrolled this box at 1970-01-01T00:00:00Z")
