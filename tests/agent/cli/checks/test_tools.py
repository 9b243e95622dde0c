"""agent/cli/checks/tools.py."""

from pathlib import Path

import pytest

from agent.cli.checks import tools
from agent.cli.checks.finding import Box
from agent.clock import Clock
from agent.config.schema import Config
from agent.errors import AwayError


def test_missing_programs_are_named_with_the_packages_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "_PATH", str(tmp_path))
    names = ["conmon", "nft", "ip", "mkfs.ext4", "e2fsck", "nsenter", "setpriv", "prlimit", "crun"]
    for name in names:
        (tmp_path / name).touch(mode=0o755)
    box = Box(Config(), Clock("b", lambda: 0, lambda: 0), AwayError(""), environment={"PATH": str(tmp_path)})
    found = tools.check(box)
    assert (found.level, found.text, found.remedy) == (
        "fail", "not installed: skopeo, umoci", "apt install skopeo umoci",
    )  # fmt: skip
    for name in ("skopeo", "umoci"):
        (tmp_path / name).touch(mode=0o755)
    assert tools.check(box).level == "ok"
    (tmp_path / "crun").unlink()
    assert tools.check(box).text == "not installed: crun or runc"
