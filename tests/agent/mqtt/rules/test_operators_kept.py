"""A bad rules file changes nothing, also over a restart."""

import logging
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.mqtt.rules.operators_kept import current
from agent.spec import DeviceRule

GOOD, BAD = '[[rule]]\nfilter = "devices/#"\nforward = false\n', '[[rule]]\nfilter = "devces/#"\nforward = false\n'
RULE = DeviceRule("devices/#", forward=False)


def test_a_good_file_holds_and_a_bad_one_leaves_what_it_said_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, kept = tmp_path / "rules.toml", tmp_path / "kept.toml"
    path.write_text(GOOD)
    assert current(path, kept) == (RULE,)
    path.write_text(BAD)
    with caplog.at_level(logging.ERROR):
        assert current(path, kept) == (RULE,)  # as after a restart: nothing is kept but the copy
    (record,) = caplog.records
    assert f"{path}:1: [[rule]] 1 (devces/#): filter: must begin with" in record.__dict__["reason"]


def test_a_file_that_is_taken_away_is_no_rules(tmp_path: Path) -> None:
    path, kept = tmp_path / "rules.toml", tmp_path / "kept.toml"
    assert current(path, kept) == ()
    path.write_text(GOOD)
    assert current(path, kept) == (RULE,)
    path.unlink()
    assert current(path, kept) == ()
    path.write_text(BAD)
    assert current(path, kept) == ()


def test_a_file_that_was_never_right_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(BAD)
    with pytest.raises(ConfigError, match=r"rules.toml:1: "):
        current(tmp_path / "rules.toml", tmp_path / "kept.toml")
