"""What a batch of records must be. Pure."""

from central import bounds, devices, metrics
from storeedge.v1.control_pb2 import Batch
from storeedge.v1.record_pb2 import Gap, Record
from storeedge.v1.types_pb2 import RecordClass

_BODY = {
    RecordClass.RECORD_CLASS_AUDIT: "audit",
    RecordClass.RECORD_CLASS_USAGE: "usage",
    RecordClass.RECORD_CLASS_EVENT: "event",
    RecordClass.RECORD_CLASS_DEVICE: "device",
    RecordClass.RECORD_CLASS_TELEMETRY: "metrics",
    RecordClass.RECORD_CLASS_LOG: "log",
}


def violation(batch: Batch) -> str | None:
    """The first broken rule of a batch, None when it can be stored."""
    if devices.sound(batch):
        return None
    found = bounds.violation(batch, "batch")
    if found:
        return found
    for index, record in enumerate(batch.records):
        seq = batch.first_seq + index
        found = _record_violation(record, batch.record_class, seq, first=index == 0)
        if found:
            return f"batch.records[{index}].{found}"
    return None


def begins_at(batch: Batch) -> int:
    """The first sequence number a batch accounts for: a leading gap stands at its last, for its whole range."""
    first = batch.records[0]
    return first.gap.first_seq if first.WhichOneof("body") == "gap" else batch.first_seq


def last_seq(batch: Batch) -> int:
    return batch.first_seq + len(batch.records) - 1


def _record_violation(record: Record, record_class: RecordClass, seq: int, *, first: bool) -> str | None:
    match record.WhichOneof("body"):
        case "gap":
            return _gap_violation(record.gap, record_class, seq, first=first)
        case "metrics" if record_class == RecordClass.RECORD_CLASS_TELEMETRY:
            return metrics.violation(record.metrics)
        case "seal" if record_class == RecordClass.RECORD_CLASS_USAGE:
            return None
        case body if body == _BODY[record_class]:
            return None
        case body:
            return f"body: {_BODY[record_class]} or gap, not {body}"


def _gap_violation(gap: Gap, record_class: RecordClass, seq: int, *, first: bool) -> str | None:
    if gap.record_class != record_class:
        return "gap.record_class: the batch's own"
    if gap.last_seq != seq or gap.first_seq > seq or (not first and gap.first_seq != seq):
        return f"gap: stands at its last_seq ({seq}); a longer one begins a batch"
    if gap.count > gap.last_seq - gap.first_seq + 1:
        return "gap.count: at most last_seq - first_seq + 1"
    return None
