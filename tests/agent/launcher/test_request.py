import base64
import json
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.launcher.protocol import LauncherError, to_json
from agent.launcher.request import parse_job, run_name, signal_name
from tests.fakes.launcher import FULL, REQUEST

GOOD: dict[str, Any] = json.loads(json.dumps(to_json(REQUEST)))


def test_a_request_survives_the_wire() -> None:
    assert parse_job(GOOD) == REQUEST
    assert parse_job(json.loads(json.dumps(to_json(FULL)))) == FULL
    assert "aHVudGVyMg" not in repr(FULL)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run", "../x"), ("run", "A"), ("run", ""), ("run", "a" * 81), ("run", "a/b"), ("run", "a\n"), ("run", None),
        ("run", "a.tmp"),
        ("tenant", "a.b"), ("tenant", ""), ("image", "/usr"), ("image", "hostile"),
        ("command", []), ("command", "sh"), ("command", [""]), ("command", ["a\0"]), ("command", ["\ud800"]),
        ("command", ["a"] * 65), ("command", ["a" * 16385]), ("command", [1]),
        ("cpu_milli", 9), ("cpu_milli", True), ("cpu_milli", 1.5), ("memory_bytes", 4096), ("pids", 3), ("pids", 4097),
        ("log_bytes", 1), ("tmp_bytes", 65535), ("tmp_bytes", GOOD["memory_bytes"] + 1),
        ("env", {"A=B": "c"}), ("env", {"1": "c"}), ("env", {"A": "\0"}), ("env", {"A": 1}), ("env", {"A": "\udfff"}),
        ("env", []), ("env", {f"A{n}": "" for n in range(65)}), ("env", {"A": "x" * 16384}),
        ("rootfs", "/"), ("uid", 0), ("job", "a.b"), ("job", "a" * 49), ("job", None),
        ("image", "sha256:" + "A" * 64), ("image", "sha256:" + "a" * 63), ("image", "docker.io/x@sha256:" + "a" * 64),
        ("open_files", 15), ("open_files", 65537), ("open_files", 0), ("disk_bytes", 1), ("disk_bytes", (1 << 40) + 1),
        ("mqtt", 1), ("mqtt", "/run"), ("mqtt", None), ("io_bytes_per_second", 1), ("io_bytes_per_second", True),
        ("check", {}), ("check", {"command": ["true"], "tcp_port": 1}), ("check", {"command": [""]}), ("check", []),
        ("secrets", {"../x": ""}), ("secrets", {".": ""}), ("secrets", {"A": "%"}), ("secrets", {"A": 1}),
        ("secrets", {f"A{n}": "" for n in range(19)}), ("secrets", {"A": base64.b64encode(b"x" * 65537).decode()}),
    ],
)  # fmt: skip
def test_what_a_request_may_not_say_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(LauncherError) as refused:
        parse_job(GOOD | {field: value})
    assert refused.value.code == "bad-request"
    assert refused.value.field == field


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(GOOD)), _json)
def test_any_value_of_a_field_is_either_taken_or_refused(field: str, value: object) -> None:
    try:
        parsed = parse_job(GOOD | {field: value})
    except LauncherError:
        return
    assert parse_job(json.loads(json.dumps(to_json(parsed)))) == parsed


def test_a_way_to_the_broker_is_asked_for_by_a_yes() -> None:
    assert parse_job(GOOD | {"mqtt": True}).mqtt
    assert not parse_job({name: value for name, value in GOOD.items() if name != "mqtt"}).mqtt


def test_names_and_signals_are_checked_too() -> None:
    assert run_name({"run": "job-1.2"}) == "job-1.2"
    assert [signal_name({"signal": name}) for name in ("TERM", "HUP", "KILL")] == ["TERM", "HUP", "KILL"]
    for value in ("STOP", 9, None, ["KILL"]):
        with pytest.raises(LauncherError, match="one of TERM, INT, QUIT, HUP, USR1, USR2, KILL"):
            signal_name({"signal": value})


@pytest.mark.parametrize(
    ("field", "inner", "value"),
    [
        ("check", "timeout_seconds", {"tcp_port": 80, "timeout_seconds": 0}),
        ("check", "timeout_seconds", {"tcp_port": 80, "timeout_seconds": 61}),
        ("check", "tcp_port", {"tcp_port": 65536}),
        ("check", "check", {"tcp_port": 80, "shell": "x"}),
    ],
)
def test_a_wrong_field_inside_a_field_is_named(field: str, inner: str, value: object) -> None:
    with pytest.raises(LauncherError) as refused:
        parse_job(GOOD | {field: value})
    assert refused.value.field == inner


def test_an_image_may_bring_its_own_command_and_the_host_has_none() -> None:
    assert parse_job(GOOD | {"image": "sha256:" + "a" * 64, "command": []}).command == ()
    with pytest.raises(LauncherError, match="command"):
        parse_job(GOOD | {"command": []})


def test_a_refused_secret_is_not_repeated() -> None:
    for value in ({"A": "hunter2!"}, {"A": ["hunter2"]}, {"A": {"x": "hunter2"}}):
        with pytest.raises(LauncherError) as refused:
            parse_job(GOOD | {"secrets": value})
        assert "hunter2" not in "".join(traceback.format_exception(refused.value))
