"""Device batches by hand: nothing is sound that the table of bounds would refuse, and what is usual is."""

from hypothesis import given, settings
from hypothesis import strategies as st

from central import bounds, devices
from central.batches import violation
from storeedge.v1.control_pb2 import Batch
from storeedge.v1.record_pb2 import DeviceMessage, DeviceValue, Event, Gap, Record, UserProperty
from storeedge.v1.types_pb2 import RECORD_CLASS_DEVICE, RECORD_CLASS_EVENT


def near(most: int, few: int = 0) -> st.SearchStrategy[str]:
    """Around a bound, and of characters of one, two and four bytes."""
    sizes = st.sampled_from([few, 1, most // 4, most // 2, most - 1, most, most + 1])
    return st.builds(lambda size, letter: letter * (size // len(letter.encode())), sizes, st.sampled_from("aé🐟"))


messages = st.builds(
    DeviceMessage,
    device=st.one_of(st.just("d"), st.sampled_from(["", "d/e", "é", "x" * 64, "x" * 65, "fridge-1.a_b"])),
    topic=st.one_of(st.just("devices/d/t"), near(512)),
    payload=st.sampled_from([b"", b"x", bytes(128 << 10), bytes((128 << 10) + 1)]),
    qos=st.sampled_from([0, 1, 2, 3]),
    content_type=st.one_of(st.just(""), near(128)),
    user_properties=st.lists(st.builds(UserProperty, key=near(128), value=near(512)), max_size=17),
    correlation_data=st.sampled_from([b"", bytes(64), bytes(65)]),
    packet_id=st.sampled_from([0, 1, 65_535, 65_536]),
    idempotency_key=st.one_of(st.just(""), near(128)),
    values=st.lists(st.builds(DeviceValue, name=near(128), unit=near(32), text=near(512)), max_size=2),
)
boots = st.one_of(st.just("b" * 36), near(36))
records = st.one_of(
    st.builds(Record, boot_id=boots, device=messages),
    st.sampled_from(
        [Record(), Record(event=Event(kind="x")), Record(gap=Gap(record_class=4, first_seq=1, last_seq=1))]
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(records, max_size=3), st.sampled_from([0, 1, (1 << 63) - 1, 1 << 63]), st.sampled_from([0, 3, 4, 7]))
def test_what_is_sound_by_hand_is_sound_by_the_table(found: list[Record], first_seq: int, record_class: int) -> None:
    batch = Batch(record_class=record_class, first_seq=first_seq, records=found)  # type: ignore[arg-type]  # no class too
    broken = bounds.violation(batch, "batch")
    only_devices = all(record.WhichOneof("body") == "device" for record in found)
    assert devices.sound(batch) == (broken is None and only_devices and record_class == RECORD_CLASS_DEVICE)


def test_a_thousand_are_sound_and_one_more_is_told() -> None:
    batch = Batch(record_class=RECORD_CLASS_DEVICE, first_seq=1)
    batch.records.extend([Record(device=DeviceMessage(device="d", topic="devices/d/t"))] * 1000)
    assert devices.sound(batch)
    batch.records.add().device.CopyFrom(batch.records[0].device)
    assert not devices.sound(batch)
    assert violation(batch) == "batch.records: 1..1000 members, not 1001"


def test_other_classes_are_not_judged_here() -> None:
    assert not devices.sound(Batch(record_class=RECORD_CLASS_EVENT, first_seq=1, records=[Record()]))


def test_what_is_remembered_is_bounded() -> None:
    for number in range(30_000):
        assert devices._sound(Record(device=DeviceMessage(device="d", topic=f"devices/d/{number}")))
    assert len(devices._channels) <= 20_000
