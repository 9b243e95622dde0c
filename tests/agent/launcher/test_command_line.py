import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agent.launcher import command_line
from agent.launcher import host as launcher_host
from agent.launcher.layout import Host
from agent.launcher.policy import Policy
from agent.launcher.protocol import to_json
from tests.fakes.launcher import FULL, REQUEST, host


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["edge-launcher", *words])
    monkeypatch.setattr(launcher_host, "discover", lambda *_, **__: host())
    return command_line.main()


def test_both_ways_to_give_an_option_are_taken() -> None:
    options = command_line._options(["--state-dir", "/a", "--run-dir=/b", "--json", "--cgroup", "x"])
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


def test_a_dry_run_shows_every_step_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, policy = tmp_path / "job.json", tmp_path / "policy"
    file.write_text(json.dumps(to_json(FULL)))
    policy.write_text("agent_uid = 1\n")
    networked = replace(host(), netns=Path("/run/netns/store"), network="10.222.0.0/16")
    for form in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["edge-launcher", "--dry-run", str(file), "--policy", str(policy), *form])
        monkeypatch.setattr(launcher_host, "discover", lambda *_, **__: networked)
        assert command_line.main() == 0
        said = capsys.readouterr().out
        assert "aHVudGVyMg" not in said
        assert "hunter2" not in said
        for word in ("veth", "/disks/acme/a.img", "/run/secrets", "tmpfs"):
            assert word in said
    assert not (tmp_path / "state").exists()


def test_the_command_line_goes_before_the_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def discover(*_: object, **known: object) -> Host:
        asked.update(known)
        return host()

    monkeypatch.setattr(launcher_host, "discover", discover)
    options = command_line._options(["--runtime", "/opt/runsc", "--netns=/run/netns/x", "--cgroup", "y"])
    command_line._host(options, Policy(0, runtime="crun"))
    assert asked == {"cgroup_name": "y", "runtime": "/opt/runsc", "netns": "/run/netns/x"}
    command_line._host(command_line._options([]), Policy(0, runtime="crun"))
    assert asked["runtime"] == "crun"


@pytest.mark.parametrize(
    ("job", "policy", "says"),
    [
        ("{", "agent_uid = 1", "not JSON"),
        ('{"memory_bytes": 1}', "agent_uid = 1", "tenant: a string matching"),
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
