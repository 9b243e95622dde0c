"""agent/cli/checks/key.py."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.cli.checks import key
from agent.cli.checks.finding import Box
from agent.clock import Clock
from agent.config.schema import Config, NodeConfig
from agent.errors import AwayError
from agent.identity import store


@pytest.mark.parametrize(
    ("pem", "tpm", "opens", "level", "words"),
    [
        (b"-----BEGIN ENCRYPTED PRIVATE KEY", True, True, "ok", "locked by this machine's TPM"),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY", True, None, "ok", "locked by this machine's TPM"),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY", True, False, "fail", "locked by another machine's TPM"),
        (b"-----BEGIN PRIVATE KEY", True, None, "warn", "though this machine has a TPM"),
        (b"-----BEGIN PRIVATE KEY", False, None, "ok", "this machine has no TPM"),
    ],
)
def test_it_says_who_can_read_the_key(
    pem: bytes,
    tpm: bool,
    opens: bool | None,
    level: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "look", lambda _: SimpleNamespace(key_pem=pem))
    if tpm:
        (tmp_path / "sys/class/tpmrm/tpmrm0").mkdir(parents=True)
    found = key.check(Box(Config(), Clock("b"), AwayError(""), root=tmp_path, lock_opens=opens))
    assert found.level == level and words in found.text
    assert bool(found.remedy) == (level != "ok")


def test_before_enrolment_there_is_none(tmp_path: Path) -> None:
    box = Box(Config(node=NodeConfig(state_dir=tmp_path)), Clock("b"), AwayError(""))
    assert key.check(box).level == "ok"
