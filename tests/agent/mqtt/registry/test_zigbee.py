"""zigbee2mqtt's list of its devices."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.registry.decoded import Malformed
from agent.mqtt.registry.readings import Reading, Sort
from agent.mqtt.registry.zigbee import MAX_READINGS, parse


def listed(document):
    found = parse(json.dumps(document).encode())
    assert not isinstance(found, Malformed)
    return found


def device(*exposes, name="plug"):
    return {"friendly_name": name, "definition": {"exposes": list(exposes)}}


def test_what_a_device_exposes_is_read_of_its_topic():
    (found,) = listed([device({"type": "numeric", "property": "power", "unit": "W"})])
    assert found == Reading("zigbee2mqtt/plug", "power", "W", Sort.NUMBER, ("power",))


def test_the_reading_of_a_switch_is_one_step_further_down():
    state = {"type": "binary", "property": "state", "value_on": "AN", "value_off": "AUS"}
    (found,) = listed([device({"type": "switch", "features": [state]})])
    assert (found.name, found.sort, found.on, found.off) == ("state", Sort.FLAG, "AN", "AUS")


def test_what_is_composed_is_no_reading():
    deep = {"type": "switch", "features": [{"type": "switch", "features": [{"type": "numeric", "property": "x"}]}]}
    assert listed([device({"type": "composite", "features": [{"type": "numeric", "property": "x"}]}, deep)]) == ()


@pytest.mark.parametrize(
    "document",
    [
        [],
        [None, 5, "x", {}],
        [{"friendly_name": "Coordinator", "definition": None}],
        [{"friendly_name": 5, "definition": {"exposes": []}}],
        [{"friendly_name": "x", "definition": {"exposes": "none"}}],
        [device(None, {"type": "numeric"}, {"type": ["numeric"], "property": "x"}, {"property": 5, "type": "numeric"})],
        [device({"type": "numeric", "property": "x" * 200})],
        [device({"type": "numeric", "property": "x"}, name="n" * 600)],
    ],
)
def test_what_cannot_be_read_is_left_out(document):
    assert listed(document) == ()


def test_the_list_is_bounded():
    many = [device({"type": "numeric", "property": "x"}, name=f"d{number}") for number in range(5000)]
    found = parse(json.dumps(many).encode())
    assert isinstance(found, Malformed)  # over the broker's bound of a packet
    short = [{"friendly_name": "d", "definition": {"exposes": [{"type": "text", "property": "x"}] * 5000}}]
    assert len(listed(short)) == MAX_READINGS


def test_what_is_no_list_is_malformed():
    for payload in (b"{}", b"\xff", b"[", b"[" * 100_000):
        assert isinstance(parse(payload), Malformed)
    assert parse(b"") == ()


KEYS = st.sampled_from(["friendly_name", "definition", "exposes", "features", "type", "property", "unit"])
DOCUMENTS = st.recursive(
    st.none() | st.integers() | st.text() | st.sampled_from(["numeric", "binary"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@given(DOCUMENTS)
def test_no_list_raises(document):
    parse(json.dumps(document).encode())
    parse(json.dumps([device(document)]).encode())
