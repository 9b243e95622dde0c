"""Numbers as protobuf writes them."""

from hypothesis import given
from hypothesis import strategies as st

from agent.link.varint import varint
from storeedge.v1.types_pb2 import Position


@given(st.one_of(st.integers(1, 5000), st.integers(1, (1 << 64) - 1)))
def test_a_number_is_written_as_protobuf_does(number: int) -> None:
    assert b"\x10" + varint(number) == Position(seq=number).SerializeToString()


def test_nothing_is_a_zero_byte() -> None:
    assert varint(0) == b"\0"
