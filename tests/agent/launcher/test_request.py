import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.launcher.protocol import LauncherError, to_json
from agent.launcher.request import parse_job, run_name, signal_name
from tests.fakes.launcher import REQUEST

GOOD: dict[str, Any] = json.loads(json.dumps(to_json(REQUEST)))


def test_a_request_survives_the_wire() -> None:
    assert parse_job(GOOD) == REQUEST


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run", "../x"), ("run", "A"), ("run", ""), ("run", "a" * 81), ("run", "a/b"), ("run", "a\n"), ("run", None),
        ("tenant", "a.b"), ("tenant", ""), ("image", "/usr"), ("image", "hostile"),
        ("command", []), ("command", "sh"), ("command", [""]), ("command", ["a\0"]), ("command", ["\ud800"]),
        ("command", ["a"] * 65), ("command", ["a" * 16385]), ("command", [1]),
        ("cpu_milli", 9), ("cpu_milli", True), ("cpu_milli", 1.5), ("memory_bytes", 4096), ("pids", 3), ("pids", 4097),
        ("log_bytes", 1), ("tmp_bytes", 65535), ("tmp_bytes", GOOD["memory_bytes"] + 1),
        ("env", {"A=B": "c"}), ("env", {"1": "c"}), ("env", {"A": "\0"}), ("env", {"A": 1}), ("env", {"A": "\udfff"}),
        ("env", []), ("env", {f"A{n}": "" for n in range(65)}), ("env", {"A": "x" * 16384}),
        ("rootfs", "/"), ("uid", 0),
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


def test_names_and_signals_are_checked_too() -> None:
    assert run_name({"run": "job-1.2"}) == "job-1.2"
    assert [signal_name({"signal": name}) for name in ("TERM", "KILL")] == ["TERM", "KILL"]
    for value in ("HUP", 9, None, ["KILL"]):
        with pytest.raises(LauncherError, match="TERM or KILL"):
            signal_name({"signal": value})
