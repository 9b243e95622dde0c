from central.batches import begins_at, last_seq, violation
from storeedge.v1.control_pb2 import Batch
from storeedge.v1.record_pb2 import DeviceMessage, Event, Gap, MetricBatch, Record
from storeedge.v1.types_pb2 import RECORD_CLASS_DEVICE, RECORD_CLASS_EVENT, RECORD_CLASS_TELEMETRY

DEVICE = RECORD_CLASS_DEVICE
MESSAGE = Record(device=DeviceMessage(device="d", topic="devices/d/t"))


def gap(first: int, last: int, count: int = 1) -> Record:
    return Record(gap=Gap(record_class=DEVICE, first_seq=first, last_seq=last, count=count))


def batch(first: int, *records: Record) -> Batch:
    return Batch(record_class=DEVICE, first_seq=first, records=records)


def test_records_are_numbered_from_the_first_on() -> None:
    sound = batch(5, MESSAGE, MESSAGE)
    assert violation(sound) is None
    assert (begins_at(sound), last_seq(sound)) == (5, 6)


def test_a_leading_gap_stands_at_its_last_for_its_whole_range() -> None:
    sound = batch(9, gap(3, 9, 7), MESSAGE)
    assert violation(sound) is None
    assert (begins_at(sound), last_seq(sound)) == (3, 10)
    assert violation(batch(1, MESSAGE, gap(2, 2), MESSAGE)) is None


def test_a_gap_that_does_not_fit_its_place_is_told() -> None:
    for wrong in (
        batch(8, gap(3, 9)),
        batch(1, MESSAGE, gap(2, 3)),
        batch(3, MESSAGE, gap(2, 4)),
        batch(9, gap(9, 3)),
        batch(9, gap(8, 9, 3)),
        batch(9, Record(gap=Gap(record_class=RECORD_CLASS_EVENT, first_seq=9, last_seq=9, count=1))),
    ):
        found = violation(wrong)
        assert found is not None and found.startswith("batch.records[") and ".gap" in found, found


def test_a_body_of_another_class_is_told() -> None:
    assert violation(batch(1, Record(event=Event(kind="x")))) == "batch.records[0].body: device or gap, not event"
    assert violation(batch(1, Record())) == "batch.records[0].body: device or gap, not None"


def test_metrics_are_checked_as_a_whole() -> None:
    wrong = Batch(record_class=RECORD_CLASS_TELEMETRY, first_seq=1, records=[Record(metrics=MetricBatch())])
    assert (violation(wrong) or "").startswith("batch.records[0].metrics.tick_delta_milli")
