"""Edge nodes: births name what data is about, numbers tell what is missing, deaths are of one session."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.registry.decoded import Decoded
from agent.mqtt.registry.nodes import Nodes
from agent.mqtt.topics import parse
from storeedge.sparkplug.v1.payload_pb2 import Payload

MINUTE = 60 * 1_000_000_000
TEMPERATURE = {"name": "Temperature", "alias": 4, "datatype": 9, "float_value": 4.5}
UNIT = {"keys": ["engUnit"], "values": [{"type": 12, "string_value": "Cel"}]}


def say(nodes, topic, *metrics, seq=None, bd_seq=None, redelivered=False):
    where = parse(f"spBv1.0/{topic}")
    assert where is not None
    every = [*metrics]
    if bd_seq is not None:
        every.append({"name": "bdSeq", "datatype": 4, "long_value": bd_seq})
    payload = Payload(timestamp=7, metrics=every, **({} if seq is None else {"seq": seq})).SerializeToString()
    return nodes.take(where, payload, redelivered=redelivered)


def seen(decoded):
    return [(value.name, value.value, value.unit) for value in decoded.values]


@pytest.fixture
def nodes():
    """A node `n` with a device `n.d`; the last seq is 1."""
    made = Nodes()
    say(made, "g/NBIRTH/n", {"name": "Uptime", "alias": 1, "datatype": 4, "long_value": 9}, seq=0, bd_seq=3)
    say(made, "g/DBIRTH/n/d", {**TEMPERATURE, "properties": UNIT}, seq=1)
    return made


def test_a_birth_has_values_and_says_who_is_there():
    nodes = Nodes()
    found = say(nodes, "g/NBIRTH/n", {"name": "Uptime", "datatype": 4, "long_value": 9}, seq=0, bd_seq=3)
    assert seen(found) == [("Uptime", 9, "")]
    assert (found.why, found.present) == ("", (("n", True),))
    found = say(nodes, "g/DBIRTH/n/d", {**TEMPERATURE, "properties": UNIT}, seq=1)
    assert seen(found) == [("Temperature", 4.5, "Cel")]
    assert (found.why, found.present) == ("", (("n.d", True),))
    assert nodes.take_rebirths(MINUTE) == ()


def test_data_is_named_typed_and_has_its_unit_by_alias(nodes):
    found = say(nodes, "g/DDATA/n/d", {"alias": 4, "float_value": 5.5, "timestamp": 11}, seq=2)
    assert seen(found) == [("Temperature", 5.5, "Cel")]
    assert found.values[0].time_unix_nano == 11_000_000
    found = say(nodes, "g/NDATA/n", {"alias": 1, "long_value": (1 << 64) - 2}, seq=3)
    assert seen(found) == [("Uptime", -2, "")]


def test_data_by_name_keeps_the_type_of_its_birth():
    nodes = Nodes()
    say(nodes, "g/NBIRTH/n", {"name": "Level", "datatype": 1, "int_value": 1}, seq=0)
    assert seen(say(nodes, "g/NDATA/n", {"name": "Level", "int_value": 255}, seq=1)) == [("Level", -1, "")]


def test_an_alias_of_another_device_names_nothing(nodes):
    assert seen(say(nodes, "g/NDATA/n", {"alias": 4, "float_value": 5.5}, seq=2)) == []


def test_what_is_part_of_the_protocol_is_no_reading():
    rebirth = {"name": "Node Control/Rebirth", "datatype": 11, "boolean_value": False}
    assert seen(say(Nodes(), "g/NBIRTH/n", rebirth, seq=0, bd_seq=1)) == []


def test_a_gap_is_reported_and_its_birth_asked_for_once_a_minute_until_it_comes(nodes):
    found = say(nodes, "g/DDATA/n/d", TEMPERATURE, seq=4)
    assert found.why == "seq 4 after 1"
    assert seen(found) == [("Temperature", 4.5, "Cel")]
    assert nodes.take_rebirths(MINUTE) == (("g", "n"),)
    assert nodes.take_rebirths(2 * MINUTE - 1) == ()
    assert nodes.take_rebirths(2 * MINUTE) == (("g", "n"),)
    say(nodes, "g/NBIRTH/n", seq=0)
    assert nodes.take_rebirths(10 * MINUTE) == ()


def test_the_number_goes_round(nodes):
    for seq in [*range(2, 256), 0, 1]:
        assert say(nodes, "g/NDATA/n", seq=seq).why == ""


def test_a_second_copy_is_no_gap(nodes):
    assert say(nodes, "g/NDATA/n", seq=2).why == ""
    assert say(nodes, "g/NDATA/n", seq=2, redelivered=True).why == ""
    assert say(nodes, "g/NDATA/n", seq=2).why == "seq 2 after 2"


def test_data_without_a_number_is_reported(nodes):
    assert say(nodes, "g/NDATA/n").why == "no seq"


def test_data_before_a_birth_is_reported_and_read_as_far_as_it_names_itself():
    nodes = Nodes()
    found = say(nodes, "g/DDATA/n/d", TEMPERATURE, {"alias": 9, "int_value": 1}, seq=7)
    assert (seen(found), found.why) == ([("Temperature", 4.5, "")], "data before birth")
    assert nodes.take_rebirths(MINUTE) == (("g", "n"),)


def test_data_of_a_device_without_a_birth_is_reported_too(nodes):
    assert say(nodes, "g/DDATA/n/e", TEMPERATURE, seq=2).why == "data before birth"
    assert nodes.take_rebirths(MINUTE) == (("g", "n"),)


def test_a_node_that_dies_takes_its_devices_with_it(nodes):
    assert dict(say(nodes, "g/NDEATH/n", bd_seq=3).present) == {"n": False, "n.d": False}
    assert say(nodes, "g/DDATA/n/d", TEMPERATURE, seq=2).why == "data before birth"


def test_a_last_will_of_an_earlier_session_takes_nobody(nodes):
    assert say(nodes, "g/NDEATH/n", bd_seq=2).present == (("n", True),)
    assert say(nodes, "g/DDATA/n/d", {"alias": 4, "float_value": 5.5}, seq=2).why == ""


def test_the_death_of_a_node_that_nobody_knows_is_believed():
    nodes = Nodes()
    assert say(nodes, "g/NDEATH/n", bd_seq=2) == Decoded((), "", (("n", False),))
    assert nodes.take_rebirths(MINUTE) == ()


def test_a_device_that_dies_leaves_its_node(nodes):
    found = say(nodes, "g/DDEATH/n/d", seq=2)
    assert (found.why, found.present) == ("", (("n.d", False),))
    assert say(nodes, "g/NDATA/n", seq=3).why == ""
    assert say(nodes, "g/DDATA/n/d", seq=4).why == "data before birth"


def test_a_new_birth_of_a_node_ends_what_its_devices_had_said(nodes):
    say(nodes, "g/NBIRTH/n", seq=0, bd_seq=4)
    assert seen(say(nodes, "g/DDATA/n/d", {"alias": 4, "float_value": 1.0}, seq=1)) == []


def test_nodes_of_one_name_in_two_groups_are_two(nodes):
    assert say(nodes, "h/NDATA/n", {"alias": 1, "long_value": 1}, seq=2).why == "data before birth"
    assert say(nodes, "g/NDATA/n", {"alias": 1, "long_value": 1}, seq=2).why == ""


def test_a_malformed_payload_has_no_values_and_changes_nothing(nodes):
    where = parse("spBv1.0/g/NBIRTH/n")
    assert where is not None
    assert nodes.take(where, b"\xff", redelivered=False) == Decoded(None, "no Sparkplug payload")
    assert say(nodes, "g/NDATA/n", seq=2).why == ""


def test_what_a_hidden_birth_has_named_is_used_on_no_data(nodes):
    where = parse("spBv1.0/g/DBIRTH/n/d")
    assert where is not None
    nodes.hide(where)
    found = say(nodes, "g/DDATA/n/d", {"alias": 4, "float_value": 5.5}, seq=2)
    assert (seen(found), found.why) == ([], "")


def test_at_most_64_values_are_read_of_one_message():
    metrics = [{"name": f"m{number}", "datatype": 3, "int_value": number} for number in range(100)]
    assert len(say(Nodes(), "g/NBIRTH/n", *metrics, seq=0).values) == 64


def test_names_are_bounded_over_all_nodes_and_free_again_after_a_death():
    nodes = Nodes(max_names=10)
    metrics = [{"name": f"m{number}", "alias": number, "datatype": 3} for number in range(8)]
    assert say(nodes, "g/NBIRTH/a", *metrics, seq=0, bd_seq=1).why == ""
    assert say(nodes, "g/NBIRTH/b", *metrics, seq=0).why == "more names than are kept"
    say(nodes, "g/NDEATH/a", bd_seq=1)
    assert say(nodes, "g/NBIRTH/b", *metrics, seq=0).why == ""


def test_nodes_are_bounded_and_the_longest_unheard_is_asked_again():
    nodes = Nodes(max_nodes=2)
    for name in "abc":
        say(nodes, f"g/NBIRTH/{name}", seq=0)
    assert say(nodes, "g/NDATA/c", seq=1).why == ""
    assert say(nodes, "g/NDATA/a", seq=1).why == "data before birth"
    assert say(nodes, "g/NDATA/b", seq=1).why == "data before birth"


TOPICS = st.sampled_from(
    [f"{group}/{word}/{node}" for group in "gh" for word in ("NBIRTH", "NDATA", "NDEATH") for node in "no"]
    + [f"g/{word}/n/{device}" for word in ("DBIRTH", "DDATA", "DDEATH") for device in "de"]
)


@given(st.lists(st.tuples(TOPICS, st.integers(0, 300), st.integers(0, 5)), max_size=40))
def test_however_messages_come_the_count_of_names_is_that_of_what_is_kept(messages):
    nodes = Nodes(max_nodes=2, max_names=20)
    for topic, seq, count in messages:
        metrics = [{"name": f"m{number}", "datatype": 3, "int_value": 1} for number in range(count)]
        say(nodes, topic, *metrics, seq=seq, bd_seq=seq % 2)
        held = sum(len(names) for node in nodes._nodes.values() for names in node.born.values())
        assert nodes._names == held <= 20
