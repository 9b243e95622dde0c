"""Numbers found in JSON, and names taken out of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.rules.payload import decoded, number_at, without

names = st.sampled_from(["a", "b", "a.b", "secret", "c"])
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(names, below, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "path", "number"),
    [
        (b"4.2", (), 4.2),
        (b" -3 ", (), -3.0),
        (b'{"a": {"b": 1e3}}', ("a", "b"), 1000.0),
        (b'{"a": true}', ("a",), None),
        (b'{"a": "1"}', ("a",), None),
        (b'{"a": [1]}', ("a",), None),
        (b"{}", ("a",), None),
        (b"[1]", ("a",), None),
        (b"1" + b"0" * 400, (), None),
        (b"1e999", (), None),
    ],
)
def test_a_number_is_found_where_it_is_and_is_one(text: bytes, path: tuple[str, ...], number: float | None) -> None:
    assert number_at(decoded(text), path) == number


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b"-Infinity", b"\xff", b"[" * 100_000, b"1" * 5000])
def test_what_is_no_json_is_told_by_one_error(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  its text is nobody's
        decoded(text)


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ({"a": 1, "b": 2}, "a", {"b": 2}),
        ({"p": {"n": 1, "m": 2}}, "p.n", {"p": {"m": 2}}),
        ({"p": [{"n": 1}, {"m": 2}, 3]}, "p.n", {"p": [{}, {"m": 2}, 3]}),
        ({"p": [[{"n": 1}]]}, "p.n", {"p": [[{}]]}),
        ({"p.n": 1}, "p.n", {}),
        ({"p": {"x.n": 1}}, "p.x.n", {"p": {}}),
        ({"p.x": {"n": 1}}, "p.x.n", {"p.x": {}}),
        ({"p": 1}, "p.n", {"p": 1}),
        ({"q": {"n": 1}}, "n", {"q": {"n": 1}}),
    ],
)
def test_a_dotted_name_is_taken_out(before: Any, path: str, after: Any) -> None:
    left = without(before, [tuple(path.split("."))])
    assert left is not None and json.loads(left) == after


@given(st.dictionaries(names, documents, max_size=4))
def test_what_is_named_is_never_left_and_nothing_else_is_missing(document: dict[str, Any]) -> None:
    found = without(json.loads(json.dumps(document)), [("secret",), ("a", "b")])
    assert found is not None
    left = json.loads(found)
    assert "secret" not in left and "a.b" not in left
    assert "b" not in left["a"] if isinstance(left.get("a"), dict) else True
    assert set(left) == set(document) - {"secret", "a.b"}


@pytest.mark.parametrize("text", [b"[1]", b"3", b'"x"', b"null", b'{"big": 1e999}'])
def test_what_can_not_be_written_again_as_an_object_is_none(text: bytes) -> None:
    assert without(decoded(text), [("a",)]) is None


def test_half_a_surrogate_is_written_as_json_writes_it() -> None:
    assert without(decoded(rb'{"x": "\ud800", "a": 1}'), [("a",)]) == rb'{"x":"\ud800"}'


def test_of_a_key_that_comes_twice_neither_is_left() -> None:
    assert without(decoded(b'{"a": "first", "a": "second", "b": 1}'), [("a",)]) == b'{"b":1}'


def test_what_nests_deeper_than_we_can_go_does_not_leave() -> None:
    deep = b'{"p":' + b"[" * 900 + b"]" * 900 + b"}"
    assert without(decoded(deep), [("p", "n")]) in {None, deep}


def test_what_grows_beyond_a_record_does_not_leave() -> None:
    text = b'{"x":[' + b"1e22," * 26_000 + b"0]}"
    assert len(text) <= 128 << 10 and without(decoded(text), [("a",)]) is None
