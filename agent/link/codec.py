"""Records and errors, from the agent's nouns to the wire's messages. Pure."""

from collections.abc import Sequence

from google.rpc import error_details_pb2, status_pb2

from agent.link import device
from agent.link.varint import varint
from agent.model import (
    AuditEntry,
    Body,
    DeviceMessage,
    Event,
    Gap,
    LogChunk,
    MetricBatch,
    RecordClass,
    Stamp,
    UsageSample,
    UsageSeal,
)
from agent.spool.record import Draft, Entry
from storeedge.v1 import record_pb2

MAX_FRAME_BYTES = 256 * 1024


_CLASS: dict[type[Body], RecordClass] = {
    AuditEntry: RecordClass.AUDIT,
    UsageSample: RecordClass.USAGE,
    UsageSeal: RecordClass.USAGE,
    Event: RecordClass.EVENT,
    DeviceMessage: RecordClass.DEVICE,
    MetricBatch: RecordClass.TELEMETRY,
    LogChunk: RecordClass.LOG,
}


def class_of(body: Body) -> RecordClass:
    return body.record_class if isinstance(body, Gap) else _CLASS[type(body)]


def encode_record(stamp: Stamp, body: Body) -> bytes:
    """A storeedge.v1.Record, serialised: what lies in the spool and goes up as it is."""
    return _record(stamp, body).SerializeToString()


def drafts(stamp: Stamp, bodies: Sequence[Body]) -> list[Draft]:
    """`bodies`, all of one moment but for what was held, as the spool takes them."""
    begin = device.beginning(stamp)
    return [
        Draft(
            RecordClass.DEVICE,
            device.encode(begin if body.stamp is None else device.beginning(body.stamp), body),
            body.priority,
            body.expires_unix_nano,
        )
        if isinstance(body, DeviceMessage)
        else Draft(class_of(body), encode_record(stamp, body))
        for body in bodies
    ]


def _record(stamp: Stamp, body: Body) -> record_pb2.Record:
    record = record_pb2.Record(
        time_unix_nano=stamp.time_unix_nano, boot_offset_nano=stamp.boot_offset_nano, boot_id=stamp.boot_id
    )
    match body:
        case AuditEntry():
            record.audit.CopyFrom(_audit(body))
        case UsageSample():
            record.usage.CopyFrom(_usage(body))
        case Event():
            record.event.CopyFrom(_event(body))
        case UsageSeal():
            record.seal.CopyFrom(_seal(body))
        case DeviceMessage():
            record.MergeFromString(device.encode(b"", body))
        case MetricBatch():
            record.metrics.CopyFrom(_metrics(body))
        case LogChunk():
            record.log.CopyFrom(_log(body))
        case Gap():
            record.gap.CopyFrom(_gap(body))
    return record


def clip(text: str, size_bytes: int) -> str:
    """At most `size_bytes` of UTF-8, no character cut in two; what is no Unicode (a name of raw bytes) becomes "?".

    A record that breaks a bound is worse than a shortened one: central refuses its batch, again after each
    reconnection, and nothing of this node would arrive any more.
    """
    return text.encode(errors="replace")[:size_bytes].decode(errors="ignore")


def _audit(body: AuditEntry) -> record_pb2.AuditEntry:
    return record_pb2.AuditEntry(
        actor=clip(body.actor, 256),
        action=clip(body.action, 64),
        target=clip(body.target, 256),
        outcome=clip(body.outcome, 64),
        detail=clip(body.detail, 1024),
    )


def _usage(body: UsageSample) -> record_pb2.UsageSample:
    return record_pb2.UsageSample(
        tenant=body.tenant,
        job=body.job,
        generation=body.generation,
        attempt=body.attempt,
        start_unix_nano=body.start_unix_nano,
        end_unix_nano=body.end_unix_nano,
        cpu_nano=body.cpu_nano,
        memory_byte_seconds=body.memory_byte_seconds,
        wall_nano=body.wall_nano,
        network_receive_bytes=body.network_receive_bytes,
        network_transmit_bytes=body.network_transmit_bytes,
        disk_byte_seconds=body.disk_byte_seconds,
        chain_index=body.chain_index,
        chain_hash=body.chain_hash,
    )


def _seal(body: UsageSeal) -> record_pb2.UsageSeal:
    heads = [
        record_pb2.ChainHead(tenant=link.tenant, chain_index=link.chain_index, chain_hash=link.chain_hash)
        for link in body.heads
    ]
    return record_pb2.UsageSeal(heads=heads, certificate_der=body.certificate_der, signature=body.signature)


def _event(body: Event) -> record_pb2.Event:
    return record_pb2.Event(
        kind=clip(body.kind, 64),
        tenant=body.tenant,
        job=body.job,
        generation=body.generation,
        attempt=body.attempt,
        state=f"JOB_STATE_{body.state.name if body.state else 'UNSPECIFIED'}",
        reason=clip(body.reason, 64),
        message=clip(body.message, 1024),
        exit_code=body.exit_code,
        attributes={clip(k, 256): clip(v, 256) for k, v in body.attributes.items()},
    )


def _metrics(body: MetricBatch) -> record_pb2.MetricBatch:
    return record_pb2.MetricBatch(
        start_unix_nano=body.start_unix_nano,
        tick_delta_milli=body.tick_delta_milli,
        strings=[clip(text, MAX_FRAME_BYTES) for text in body.strings],
        series=[
            record_pb2.Series(
                name=s.name,
                unit=s.unit,
                kind=f"METRIC_KIND_{s.kind.name}",
                attributes=s.attributes,
                decimals=s.decimals,
                value_deltas=s.value_deltas,
                ticks=s.ticks,
            )
            for s in body.series
        ],
    )


def _log(body: LogChunk) -> record_pb2.LogChunk:
    return record_pb2.LogChunk(
        tenant=body.tenant,
        job=body.job,
        generation=body.generation,
        attempt=body.attempt,
        offset=body.offset,
        data=body.data,
    )


def _gap(body: Gap) -> record_pb2.Gap:
    return record_pb2.Gap(
        record_class=wire_class(body.record_class),
        first_seq=body.first_seq,
        last_seq=body.last_seq,
        count=body.count,
        reason=body.reason,
    )


def wire_class(record_class: RecordClass) -> str:
    """Its name in storeedge.v1.RecordClass; message constructors take it."""
    return f"RECORD_CLASS_{record_class.name}"


def batch(record_class: RecordClass, entries: Sequence[Entry], stamp: Stamp) -> bytes:
    """Neighbouring entries as an AgentFrame with a Batch, serialised; a gap entry becomes a Gap stamped `stamp`."""
    records = [
        entry.payload
        if entry.gap_first is None
        else encode_record(
            stamp, Gap(record_class, entry.gap_first, entry.seq, entry.seq - entry.gap_first + 1, entry.reason)
        )
        for entry in entries
    ]
    return _frame(record_class, entries[0].seq, records)


def forgotten(record_class: RecordClass, first_seq: int, last_seq: int, stamp: Stamp) -> bytes:
    """What central acknowledged once and no longer holds (restored from a backup): only a gap can say so."""
    gap = Gap(record_class, first_seq, last_seq, last_seq - first_seq + 1, "acknowledged before, no longer held")
    return _frame(record_class, last_seq, [encode_record(stamp, gap)])


def _frame(record_class: RecordClass, first_seq: int, records: Sequence[bytes]) -> bytes:
    """What AgentFrame(batch=Batch(...)).SerializeToString() gives, without a message made of each record."""
    body = b"".join([part for record in records for part in (_RECORDS, varint(len(record)), record)])
    head = b"".join((b"\x08", varint(record_class), b"\x10", varint(first_seq)))
    return b"".join((b"\x12", varint(len(head) + len(body)), head, body))


_RECORDS = b"\x1a"  # Batch.records


def status(reason: str, code: int, message: str) -> status_pb2.Status:
    """google.rpc.Status with an ErrorInfo that carries the reason (AIP-193)."""
    result = status_pb2.Status(code=code, message=clip(message, 1024))
    result.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="storeedge"))
    return result
