"""agent/cli/config.py."""

from pathlib import Path

import pytest

from agent.__main__ import main


def test_a_good_file_is_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("[mqtt]\nport = 1884\n")
    assert main(["config", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: ok\n"


def test_a_typo_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("[spool]\nlimit_byte = 1\n")
    assert main(["config", "check", str(file)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"{file}:2: [spool] limit_byte: unknown key, did you mean 'limit_bytes'?; allowed: limit_bytes\n"
