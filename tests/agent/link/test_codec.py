"""Records on their way up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.link import codec
from agent.model import (
    AuditEntry,
    Body,
    DeviceMessage,
    Event,
    Gap,
    JobState,
    LogChunk,
    MetricBatch,
    MetricKind,
    RecordClass,
    Series,
    Stamp,
    UsageSample,
)
from agent.spool.record import Entry
from central.bounds import violation
from storeedge.v1 import control_pb2, record_pb2, types_pb2

STAMP = Stamp(1_700_000_000_000_000_000, 5_000, "b" * 36)
BODIES: list[Body] = [
    AuditEntry("agent", "call.GetNode", "", "ok"),
    UsageSample("t", "j", 1, 1, 1, 2, 3, 4, 5, chain_index=1, chain_hash=b"h" * 32),
    Event("job.state", "t", "j", 1, 1, JobState.FAILED, "oom", "out of memory", 137, {"k": "v"}),
    DeviceMessage("fridge-1", "devices/fridge-1/t", b"4.2", 1, user_properties=(("a", "b"),), packet_id=7),
    MetricBatch(5, (0, 10), ("", "n", "u"), (Series(1, 2, MetricKind.GAUGE, (), 1, (40, 1), (0, 1)),)),
    LogChunk("t", "j", 1, 1, 0, b"line"),
    Gap(RecordClass.DEVICE, 3, 9, 7, "spool full"),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda b: type(b).__name__)
def test_every_field_of_a_body_arrives(body: Body) -> None:
    record = record_pb2.Record.FromString(codec.encode_record(STAMP, body))
    assert (record.time_unix_nano, record.boot_offset_nano, record.boot_id) == (
        STAMP.time_unix_nano,
        STAMP.boot_offset_nano,
        STAMP.boot_id,
    )
    message = getattr(record, record.WhichOneof("body"))
    for name in type(body).__dataclass_fields__:
        ours = getattr(body, name)
        match name:
            case "priority" | "expires_unix_nano" | "stamp":
                continue
            case "state":
                assert message.state == record_pb2.JOB_STATE_FAILED
            case "user_properties":
                assert [(p.key, p.value) for p in message.user_properties] == list(ours)
            case "series":
                assert [(s.name, s.unit, s.decimals, list(s.value_deltas), list(s.ticks)) for s in message.series] == [
                    (s.name, s.unit, s.decimals, list(s.value_deltas), list(s.ticks)) for s in ours
                ]
                assert message.series[0].kind == record_pb2.METRIC_KIND_GAUGE
            case _:
                theirs = getattr(message, name)
                assert (
                    dict(theirs) if isinstance(ours, dict) else tuple(theirs) if isinstance(ours, tuple) else theirs
                ) == ours


def test_every_class_and_state_has_its_word_on_the_wire() -> None:
    for record_class in RecordClass:
        assert types_pb2.RecordClass.Value(codec.wire_class(record_class)) == record_class
    for state in JobState:
        event = record_pb2.Record.FromString(codec.encode_record(STAMP, Event("job.state", state=state))).event
        assert event.state != record_pb2.JOB_STATE_UNSPECIFIED


@given(st.integers(1, 1 << 50), st.integers(0, 100))
def test_a_gap_in_the_spool_goes_up_as_a_gap_record(first: int, more: int) -> None:
    batch = _batch(codec.batch(RecordClass.DEVICE, [Entry(first + more, b"", first, "expired")], STAMP))
    gap = batch.records[0].gap
    assert (batch.first_seq, gap.first_seq, gap.last_seq, gap.count) == (first + more, first, first + more, more + 1)
    assert gap.reason == "expired"


@given(st.lists(st.binary(max_size=300), max_size=5), st.sampled_from(RecordClass), st.integers(1, 1 << 60))
def test_a_frame_is_what_protobuf_makes_of_the_same_batch(
    payloads: list[bytes], record_class: RecordClass, first: int
) -> None:
    records = [codec.encode_record(STAMP, DeviceMessage("d", "devices/d/x", p)) for p in [b"at least one", *payloads]]
    frame = codec.batch(record_class, [Entry(first + i, record) for i, record in enumerate(records)], STAMP)
    expected = control_pb2.Batch(record_class=codec.wire_class(record_class), first_seq=first)
    for record in records:
        expected.records.add().MergeFromString(record)
    assert frame == control_pb2.AgentFrame(batch=expected).SerializeToString()
    assert [r.SerializeToString() for r in _batch(frame).records] == records


def test_what_is_forgotten_goes_up_as_one_gap() -> None:
    batch = _batch(codec.forgotten(RecordClass.EVENT, 3, 9, STAMP))
    gap = batch.records[0].gap
    assert (batch.first_seq, gap.first_seq, gap.last_seq, gap.count) == (9, 3, 9, 7)


def test_bodies_of_one_moment_become_drafts_of_their_classes() -> None:
    message = DeviceMessage("d", "devices/d/x", b"1", priority=8, expires_unix_nano=77)
    for body, draft in zip([*BODIES, message], codec.drafts(STAMP, [*BODIES, message]), strict=True):
        assert (draft.record_class, draft.payload) == (codec.class_of(body), codec.encode_record(STAMP, body))
    assert (draft.priority, draft.expires_unix_nano) == (8, 77)


def _batch(frame: bytes) -> control_pb2.Batch:
    return control_pb2.AgentFrame.FromString(frame).batch


def test_no_text_makes_a_record_that_central_would_refuse() -> None:
    """Bounds are bytes: a refused record would be sent, and refused, for ever."""
    long = "é" * 3000
    bodies: list[Body] = [
        AuditEntry(long, long, long, long, long),
        Event(long, reason=long, message=long, attributes={long: long}),
    ]
    for body in bodies:
        record = record_pb2.Record.FromString(codec.encode_record(STAMP, body))
        assert violation(record) is None


def test_a_name_that_is_no_unicode_is_no_reason_to_fail() -> None:
    body = MetricBatch(5, (0,), ("", "eth\udcff"), (Series(1, 0, MetricKind.GAUGE, (), 0, (1,)),))
    assert record_pb2.Record.FromString(codec.encode_record(STAMP, body)).metrics.strings[1] == "eth?"
