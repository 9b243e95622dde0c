"""Readings out of payloads."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.registry.readings import Reading, Sort, read, scalars


def one(sort, payload, *, path=None, **words):
    found = read([Reading("t", "n", "u", sort, path, **words)], payload)
    return found[0].value if found else None


@pytest.mark.parametrize(
    ("sort", "payload", "expected"),
    [
        (Sort.NUMBER, b"4", 4),
        (Sort.NUMBER, b" -4.5\n", -4.5),
        (Sort.NUMBER, b"1e3", 1000.0),
        (Sort.NUMBER, b"nan", None),
        (Sort.NUMBER, b"inf", None),
        (Sort.NUMBER, b"1_000", None),
        (Sort.NUMBER, b"unavailable", None),
        (Sort.NUMBER, b"", None),
        (Sort.NUMBER, b"9" * 33, None),
        (Sort.NUMBER_OR_TEXT, b"12", 12),
        (Sort.NUMBER_OR_TEXT, b"idle", "idle"),
        (Sort.TEXT, b"12", "12"),
        (Sort.TEXT, b"x" * 513, None),
        (Sort.FLAG, b"ON", True),
        (Sort.FLAG, b"off", False),
        (Sort.FLAG, b"maybe", None),
    ],
)
def test_a_whole_payload_becomes_what_was_announced(sort, payload, expected):
    value = one(sort, payload)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("sort", "value", "expected"),
    [
        (Sort.NUMBER, 4, 4),
        (Sort.NUMBER, "4.5", 4.5),
        (Sort.NUMBER, True, None),
        (Sort.NUMBER, None, None),
        (Sort.NUMBER, [1], None),
        (Sort.FLAG, True, True),
        (Sort.FLAG, "ON", True),
        (Sort.FLAG, 1, None),
        (Sort.TEXT, 5, "5"),
    ],
)
def test_a_member_becomes_what_was_announced(sort, value, expected):
    found = one(sort, json.dumps({"a": [{"b": value}]}).encode(), path=("a", 0, "b"))
    assert found == expected and type(found) is type(expected)


def test_words_for_a_flag_are_those_that_were_announced():
    assert one(Sort.FLAG, b"open", on="OPEN", off="CLOSED") is True
    assert one(Sort.FLAG, b"1", on="1", off="0") is True
    assert one(Sort.FLAG, b'{"a": false}', path=("a",), on="False", off="True") is False


@pytest.mark.parametrize("path", [("x",), (0,), ("a", "b"), ("l", 5), ("l", "x")])
def test_what_is_not_there_is_left_out(path):
    assert one(Sort.TEXT, b'{"a": 1, "l": [1]}', path=path) is None


def test_all_scalars_of_an_object_are_values_those_known_with_their_units():
    payload = b'{"t": 4.5, "on": true, "word": "x", "none": null, "list": [1], "object": {"a": 1}, "": 1}'
    found = scalars(payload, [Reading("t", "t", "Cel", Sort.NUMBER, ("t",))])
    assert {value.name: (value.value, value.unit) for value in found} == {
        "t": (4.5, "Cel"),
        "on": (True, ""),
        "word": ("x", ""),
    }


def test_at_most_64_values_are_read():
    payload = json.dumps({str(number): number for number in range(100)}).encode()
    assert len(scalars(payload)) == 64


PATHS = (None, (), ("a",), ("a", 0))
READINGS = [Reading("t", f"{sort.value}{path}", "", sort, path) for sort in Sort for path in PATHS]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=100) | DOCUMENTS.map(lambda document: json.dumps(document).encode()))
def test_no_payload_raises(payload):
    for value in (*read(READINGS, payload), *scalars(payload, READINGS)):
        assert len(value.name.encode()) <= 128


def test_a_payload_that_nests_without_end_says_nothing():
    assert scalars(b"[" * 100_000) == ()
    assert scalars(b'{"a":' * 50_000) == ()
