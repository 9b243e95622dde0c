"""Sparkplug payloads: every type of the specification, and whatever else may come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.registry import sparkplug
from agent.mqtt.registry.decoded import Malformed
from agent.mqtt.registry.sparkplug import Metric, Report, rebirth_command, typed, unit_of
from storeedge.sparkplug.v1.payload_pb2 import Payload


def decode(**fields):
    found = sparkplug.decode(Payload(**fields).SerializeToString())
    assert isinstance(found, Report)
    return found


def one(**fields):
    (found,) = decode(timestamp=7, metrics=[fields]).metrics
    return found


# The datatype, what the encoders of the specification's examples (and others) put on the wire, what it means.
VALUES = [
    (1, {"int_value": 0xFFFFFFFF}, -1),
    (1, {"int_value": 0xFF}, -1),
    (1, {"int_value": 127}, 127),
    (2, {"int_value": 0xFFFF8000}, -32768),
    (3, {"int_value": 0xFFFFFFFF}, -1),
    (3, {"int_value": 2147483647}, 2147483647),
    (4, {"long_value": (1 << 64) - 5}, -5),
    (4, {"int_value": 5}, 5),
    (5, {"int_value": 255}, 255),
    (6, {"int_value": 65535}, 65535),
    (7, {"int_value": 4294967295}, 4294967295),
    (7, {"long_value": 4294967295}, 4294967295),
    (8, {"long_value": (1 << 64) - 1}, (1 << 64) - 1),
    (9, {"float_value": 1.5}, 1.5),
    (10, {"double_value": 4.2}, 4.2),
    (11, {"boolean_value": True}, True),
    (12, {"string_value": "é"}, "é"),
    (13, {"long_value": 1_486_144_502_122}, 1_486_144_502_122),
    (14, {"string_value": "text"}, "text"),
    (15, {"string_value": "02469e5d-0df3-4b2d-8e10-a3f4fd4d5e57"}, "02469e5d-0df3-4b2d-8e10-a3f4fd4d5e57"),
    (16, {"dataset_value": b"\x08\x01"}, None),
    (17, {"bytes_value": b"x"}, None),
    (18, {"bytes_value": b"x"}, None),
    (19, {"template_value": b"\xff"}, None),
    (22, {"bytes_value": b"\x01\x02"}, None),
    (11, {"int_value": 1}, None),
    (9, {"string_value": "1.5"}, None),
    (3, {"boolean_value": True}, None),
    (12, {"int_value": 3}, None),
    (99, {"int_value": 3}, None),
    (0, {"int_value": 3}, 3),
]


@pytest.mark.parametrize(("datatype", "wire", "means"), VALUES)
def test_each_type_is_what_the_specification_says(datatype, wire, means):
    found = one(name="n", datatype=datatype, **wire)
    value = typed(found.datatype, found.raw)
    assert value == means and type(value) is type(means)


def test_names_aliases_times_and_flags_are_taken_over():
    found = decode(
        timestamp=7,
        seq=3,
        metrics=[
            {"name": "a", "alias": 0, "timestamp": 5, "datatype": 3, "int_value": 1, "is_historical": True},
            {"alias": 1 << 63, "datatype": 3, "is_null": True, "int_value": 1, "is_transient": True},
        ],
    )
    assert (found.time_milli, found.seq, found.bd_seq) == (7, 3, None)
    assert found.metrics == (
        Metric("a", 0, 3, 1, "", 5, True, False),
        Metric("", 1 << 63, 3, None, "", 7, False, True),
    )


@pytest.mark.parametrize("key", ["engUnit", "Engineering Units", "engineering unit", "Unit"])
def test_the_unit_stands_in_the_properties(key):
    properties = {"keys": ["other", key], "values": [{"int_value": 1}, {"type": 12, "string_value": "Cel"}]}
    assert one(name="n", properties=properties).unit == "Cel"


def test_properties_that_are_no_unit_are_none():
    assert one(name="n", properties={"keys": ["engUnit"], "values": [{"int_value": 1}]}).unit == ""
    assert one(name="n", properties={"keys": ["engUnit"], "values": []}).unit == ""
    assert (
        one(name="n", properties={"keys": ["x"] * 40 + ["unit"], "values": [{"string_value": "Cel"}] * 41}).unit == ""
    )


def test_a_date_is_in_milliseconds():
    assert unit_of(13, "") == "ms"
    assert unit_of(13, "s") == "s"
    assert unit_of(3, "") == ""


def test_the_number_of_the_session_is_found():
    assert decode(metrics=[{"name": "bdSeq", "datatype": 4, "long_value": 9}]).bd_seq == 9
    assert decode(metrics=[{"name": "bdSeq", "datatype": 12, "string_value": "9"}]).bd_seq is None


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"\xff", "no Sparkplug payload"),
        (b'{"temperature": 4}', "no Sparkplug payload"),
        (Payload(seq=256).SerializeToString(), "seq over 255"),
        (Payload(uuid="SPBV1.0_COMPRESSED", body=b"x").SerializeToString(), "a body of compressed or unknown content"),
        (b"\x12\x02\x0a\xff", "no Sparkplug payload"),  # a name that is longer than the message
        (b"\x12\x03\x0a\x01\xff", "no Sparkplug payload"),  # a name that is no UTF-8
    ],
)
def test_a_malformed_payload_is_named(payload, why):
    assert sparkplug.decode(payload) == Malformed(why)


def test_of_a_message_of_empty_metrics_only_the_first_are_looked_at():
    found = sparkplug.decode(b"\x12\x00" * 65_000)
    assert isinstance(found, Report) and len(found.metrics) == sparkplug.MAX_METRICS


def test_an_empty_payload_says_nothing():
    assert sparkplug.decode(b"") == Report(0, None, None, ())


def test_a_rebirth_is_asked_for_as_the_specification_says():
    found = sparkplug.decode(rebirth_command(5_000_000_000))
    assert isinstance(found, Report) and found.seq is None
    assert found.metrics == (Metric("Node Control/Rebirth", None, 11, True, "", 5000, False, False),)
    assert sparkplug.rebirth_topic("g", "n") == "spBv1.0/g/NCMD/n"


@given(st.binary(max_size=400))
def test_bytes_of_any_kind_never_raise(payload):
    found = sparkplug.decode(payload)
    if isinstance(found, Report):
        for each in found.metrics:
            typed(each.datatype, each.raw)


@given(st.integers(0, 40), st.one_of(st.integers(0, (1 << 64) - 1), st.floats(), st.booleans(), st.text(), st.none()))
def test_every_type_takes_every_value_or_refuses_it(datatype, raw):
    value = typed(datatype, raw)
    assert value is None or isinstance(value, float | int | bool | str)
