"""agent/cli/enrol.py. With a real central: tests/integration/test_enrol_real.py."""

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.cli.enrol import hardware
from agent.identity.refusals import take_refusals


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """The verb configures logging for its process, which here is pytest."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(f'[node]\nstate_dir = "{tmp_path / "state"}"\n')
    return file


def test_a_board_is_described_by_what_it_tells(tmp_path: Path) -> None:
    for name, text in {
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "etc/machine-id": "0123456789abcdef\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    assert hardware(tmp_path) == "Raspberry Pi 5 Model B Rev 1.0, 0123456789abcdef"


def test_a_refusal_is_one_line_and_kept_for_the_audit_trail(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir()
    assert main(["--config", str(config), "enrol", "--central", "127.0.0.1:1", "--token", "nonsense"]) == 1
    assert capsys.readouterr().err.endswith("edge-agent: the token is malformed: it does not begin with 'set1.'\n")
    (kept,) = take_refusals(tmp_path / "state")
    assert (kept.actor, kept.action, kept.outcome) == (f"local:uid={os.getuid()}", "enrol", "BAD_REQUEST")


def test_a_missing_state_directory_is_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(config), "enrol", "--central", "127.0.0.1:1", "--token", "x"]) == 1
    assert "state does not exist; the package makes it" in capsys.readouterr().err


@pytest.mark.root
@pytest.mark.integration
def test_what_root_enrols_belongs_to_the_agents_user(tmp_path: Path, config: Path) -> None:
    """A process of its own: it gives up root for good."""
    state, nobody = tmp_path / "state", 65534
    state.mkdir()
    os.chown(state, nobody, nobody)
    top = Path(__file__).parents[3]
    argv = [sys.executable, "-m", "agent", "--config", str(config), "enrol", "--central", "127.0.0.1:1", "--token", "x"]
    # The way to the state directory, which pytest closes to others. With --basetemp it leads through /tmp itself.
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(stat.S_IMODE(parent.stat().st_mode) | 0o055)
    done = subprocess.run(
        argv,
        env={**os.environ, "PYTHONPATH": f"{top}:{top / 'proto'}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert "the token is malformed" in done.stderr
    kept = state / "identity" / "refusals.jsonl"
    assert (kept.stat().st_uid, kept.stat().st_gid) == (nobody, nobody)
    assert '"actor": "local:uid=0"' in kept.read_text()
