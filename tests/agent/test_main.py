"""The entry point: the daemon's way in is short, the people's way is argparse."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.__main__ import main


def test_the_daemon_does_not_load_what_only_people_need(tmp_path: Path) -> None:
    code = (
        "import sys; from agent.__main__ import main;"
        f" code = main(['--config', '{tmp_path}/none.toml', 'run']); print(code, 'argparse' in sys.modules)"
    )
    top = Path(__file__).parents[2]
    env = {"PYTHONPATH": f"{top}:{top / 'proto'}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.split() == ["78", "False"]
    assert f"{tmp_path}/none.toml" in done.stderr


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in ("run", "enrol", "config", "status", "jobs", "logs", "devices", "spool"))


def test_an_unknown_verb_is_a_mistake_of_usage() -> None:
    with pytest.raises(SystemExit) as end:
        main(["dance"])
    assert end.value.code == 2


def test_an_agent_that_does_not_answer_is_one_line_with_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f'[api]\nsocket = "{tmp_path}/none.sock"\n')
    assert main(["--config", str(config), "status"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "systemctl status edge-agent" in line
