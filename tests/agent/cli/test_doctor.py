"""agent/cli/doctor.py. Its checks: tests/agent/cli/checks/."""

import json
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.cli.checks.finding import Finding
from agent.cli.doctor import lines


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    file = tmp_path / "agent.toml"
    file.write_text(f"""
[node]
state_dir = "{tmp_path}/state"
[jobs]
launcher_socket = "{tmp_path}/none.sock"
[mqtt]
enabled = false
""")
    return file


def test_it_works_without_agent_and_launcher_and_fails_with_remedies(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(config), "doctor", "--json"]) == 1
    found = {each["check"]: each for each in json.loads(capsys.readouterr().out)["checks"]}
    assert found["configuration"]["level"] == "ok"
    assert found["launcher"]["level"] == "fail" and "systemctl status" in found["launcher"]["remedy"]
    assert found["certificate"]["level"] == "fail" and "edge-agent enrol" in found["certificate"]["remedy"]
    assert found["broker"]["level"] == found["spool"]["level"] == "ok"
    assert all(each["remedy"] for each in found.values() if each["level"] != "ok")


def test_a_broken_configuration_is_the_only_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("[spool]\nlimit_byte = 1\n")
    assert main(["--config", str(file), "doctor"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("fail  configuration") and "limit_bytes" in line


def test_a_check_is_one_line_with_its_remedy() -> None:
    found = [("disk", Finding("warn", "little room", "free some")), ("clock", Finding("ok", "kept"))]
    assert lines(found) == [
        "warn  disk               little room -> free some",
        "ok    clock              kept",
    ]
