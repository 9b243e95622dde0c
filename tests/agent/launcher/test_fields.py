import re

import pytest

from agent.launcher.fields import boolean, number, only, text, words
from agent.launcher.protocol import LauncherError


def test_a_default_stands_for_what_is_not_there_and_may_be_said() -> None:
    assert (
        number({}, "disk_bytes", 10, 20, default=0) == number({"disk_bytes": 0}, "disk_bytes", 10, 20, default=0) == 0
    )
    with pytest.raises(LauncherError, match=r"10\.\.20 or 0"):
        number({"disk_bytes": 5}, "disk_bytes", 10, 20, default=0)
    with pytest.raises(LauncherError, match=r"10\.\.20$"):
        number({}, "pids", 10, 20)


def test_what_is_not_there_is_no_and_only_yes_and_no_are_answers() -> None:
    assert (boolean({}, "mqtt"), boolean({"mqtt": True}, "mqtt")) == (False, True)
    with pytest.raises(LauncherError, match="mqtt: true or false"):
        boolean({"mqtt": 1}, "mqtt")


def test_an_unknown_field_is_named_and_cut_short() -> None:
    with pytest.raises(LauncherError) as refused:
        only({"x" * 5000: 1}, ("run",))
    assert len(str(refused.value)) < 200


def test_a_pattern_means_the_whole_string() -> None:
    with pytest.raises(LauncherError):
        text({"run": "a\n"}, "run", re.compile("[a-z]+"))


def test_a_command_line_may_be_empty_but_has_no_empty_program() -> None:
    assert words([], "command", 10) == ()
    assert words(["a", ""], "command", 10) == ("a", "")
    for value in ([""], None, ["a"] * 65, ["a" * 11], [1], ["\0"]):
        with pytest.raises(LauncherError):
            words(value, "command", 10)
