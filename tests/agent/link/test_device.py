"""Device messages by hand: byte for byte what protobuf's own encoder says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.link import device
from agent.model import DeviceMessage, DeviceValue, Stamp
from storeedge.v1 import record_pb2

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
signed = st.integers(-(1 << 63), (1 << 63) - 1)
times = st.integers(0, (1 << 64) - 1)
numbers = st.one_of(st.floats(allow_nan=False), signed, st.booleans(), words)
values = st.builds(DeviceValue, name=words, value=numbers, unit=words, time_unix_nano=times)
messages = st.builds(
    DeviceMessage,
    device=words,
    topic=words,
    payload=st.binary(max_size=3000),
    qos=st.integers(0, 2),
    retained=st.booleans(),
    content_type=words,
    user_properties=st.lists(st.tuples(words, words), max_size=3).map(tuple),
    correlation_data=st.binary(max_size=64),
    packet_id=st.integers(0, 65_535),
    redelivered=st.booleans(),
    idempotency_key=words,
    values=st.lists(values, max_size=3).map(tuple),
)
stamps = st.builds(Stamp, times, times, words)


def _value(value: DeviceValue) -> record_pb2.DeviceValue:
    found = record_pb2.DeviceValue(name=value.name, unit=value.unit, time_unix_nano=value.time_unix_nano)
    match value.value:
        case bool():
            found.flag = value.value
        case int():
            found.integer = value.value
        case float():
            found.number = value.value
        case str():
            found.text = value.value
    return found


@given(stamps, messages)
def test_a_message_is_written_as_protobuf_does(stamp: Stamp, body: DeviceMessage) -> None:
    record = record_pb2.Record(
        time_unix_nano=stamp.time_unix_nano,
        boot_offset_nano=stamp.boot_offset_nano,
        boot_id=stamp.boot_id,
        device=record_pb2.DeviceMessage(
            device=body.device,
            topic=body.topic,
            payload=body.payload,
            qos=body.qos,
            retained=body.retained,
            content_type=body.content_type,
            user_properties=[record_pb2.UserProperty(key=k, value=v) for k, v in body.user_properties],
            correlation_data=body.correlation_data,
            packet_id=body.packet_id,
            redelivered=body.redelivered,
            idempotency_key=body.idempotency_key,
            values=[_value(value) for value in body.values],
        ),
    )
    assert device.encode(device.beginning(stamp), body) == record.SerializeToString()


def test_no_number_of_channels_is_too_many() -> None:
    first = DeviceMessage("d", "devices/d/0", b"x")
    before = device.encode(b"", first)
    for number in range(3000):
        device.encode(b"", DeviceMessage("d", f"devices/d/{number}", b"x"))
    assert len(device._channels) <= 1000
    assert device.encode(b"", first) == before


def test_text_that_is_no_unicode_is_refused_as_protobuf_does() -> None:
    with pytest.raises(UnicodeEncodeError):
        device.encode(b"", DeviceMessage("d", "devices/d/\udcff", b"x"))
