"""Texts, numbers and properties: as they are written, or the one error."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.wire.fields import OF_CONNACK, OF_PUBLISH, MalformedError, Reader, text, variable
from tests.fakes.mqtt_packets import properties


@given(st.integers(0, (1 << 28) - 1))
def test_a_variable_number_reads_as_it_was_written(number: int) -> None:
    reader = Reader(variable(number))
    assert reader.variable() == number
    assert reader.rest() == b""


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=300))
def test_a_text_reads_as_it_was_written(characters: str) -> None:
    assert Reader(text(characters)).text() == characters


def test_a_text_of_more_than_65535_bytes_cant_be_written() -> None:
    with pytest.raises(ValueError, match="65536 bytes"):
        text("x" * 65536)


@pytest.mark.parametrize("data", [b"\0\1\0", b"\0\1\xff", b"\0\3\xed\xa0\x80", b"\0\2a", b"\0", b""])
def test_no_nul_no_broken_utf_8_nothing_cut(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Reader(data).text()


def test_every_property_of_a_message_is_read() -> None:
    block = properties(
        PayloadFormatIndicator=1,
        MessageExpiryInterval=60,
        ContentType="text/plain",
        ResponseTopic="a/b",
        CorrelationData=b"\0\xff",
        SubscriptionIdentifier=200,
        UserProperty=[("unit", "Cel"), ("unit", "again")],
    )
    found = Reader(block).properties(OF_PUBLISH)
    assert found.numbers == {0x01: 1, 0x02: 60, 0x0B: 200}
    assert found.texts == {0x03: "text/plain", 0x08: "a/b"}
    assert found.binaries == {0x09: b"\0\xff"}
    assert found.user == [("unit", "Cel"), ("unit", "again")]


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\x0a\x02\0\0\0\1\x02\0\0\0\1", "twice"),
        (b"\x03\x23\0\1", "doesn't belong"),  # a topic alias, which we don't allow
        (b"\x02\x7f\0", "doesn't belong"),
        (b"\x09\x02\0\0", "beyond their packet"),
        (b"\x02\x02\0\0\0\1", "beyond the properties"),
        (b"\xff\xff\xff\xff\x01", "four bytes"),
        (b"\x03\x03\0\x09", "too early"),
    ],
)
def test_properties_that_cant_be_are_named(block: bytes, why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        Reader(block).properties(OF_PUBLISH)


@given(st.binary(max_size=60), st.sampled_from([OF_PUBLISH, OF_CONNACK]))
def test_garbage_is_properties_or_the_one_error(block: bytes, allowed: frozenset[int]) -> None:
    with suppress(MalformedError):
        Reader(bytes((len(block),)) + block).properties(allowed)
