import json
import sys
from pathlib import Path

import pytest

from agent.launcher import __main__ as main
from agent.launcher.protocol import to_json
from tests.fakes.launcher import REQUEST, host


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["edge-launcher", *words])
    monkeypatch.setattr(main.host, "discover", lambda *_, **__: host())
    return main.main()


def test_both_ways_to_give_an_option_are_taken() -> None:
    options = main._options(["--state-dir", "/a", "--run-dir=/b", "--json", "--cgroup", "x"])
    assert (options.state_dir, options.run_dir, options.json, options.cgroup) == ("/a", "/b", True, "x")
    assert options.policy == "/etc/edge-agent/launcher.toml"


@pytest.mark.parametrize("words", [["--statedir", "/a"], ["x"], ["--socket"], ["-j"]])
def test_a_wrong_command_line_shows_the_right_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert call(monkeypatch, *words) == 2
    assert "usage: edge-launcher" in capsys.readouterr().err


def test_a_dry_run_prints_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, policy = tmp_path / "job.json", tmp_path / "policy"
    file.write_text(json.dumps(to_json(REQUEST)))
    policy.write_text("agent_uid = 1\n")
    assert call(monkeypatch, "--dry-run", str(file), "--policy", str(policy)) == 0
    assert "start: /usr/bin/crun" in capsys.readouterr().out
    assert call(monkeypatch, "--dry-run", str(file), "--policy", str(policy), "--json") == 0
    assert json.loads(capsys.readouterr().out)[-1]["operation"] == "SetCgroup"


@pytest.mark.parametrize(
    ("job", "policy", "says"),
    [
        ("{", "agent_uid = 1", "not JSON"),
        ('{"memory_bytes": 1}', "agent_uid = 1", "memory_bytes: an integer in"),
        (json.dumps(to_json(REQUEST)), "agent_uid = 1\nmax_cpu_milli = 10", "cpu_milli: at most 10"),
        (json.dumps(to_json(REQUEST)), "agent_id = 1", "agent_id: unknown key"),
    ],
)
def test_what_is_wrong_is_one_clear_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    job: str,
    policy: str,
    says: str,
) -> None:
    (tmp_path / "job").write_text(job)
    (tmp_path / "policy").write_text(policy)
    assert call(monkeypatch, "--dry-run", str(tmp_path / "job"), "--policy", str(tmp_path / "policy")) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
