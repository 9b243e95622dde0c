"""What the operator's questions are answered with: work on the database, in a transaction."""

import sqlite3
from collections.abc import Iterable

from google.protobuf.message import DecodeError

from central import fold, metrics
from central.names import NodeName
from central.refusal import refused
from central.store import nodes, records
from central.store.nodes import NodeRow
from storeedge.v1 import operator_pb2 as wire
from storeedge.v1.agent_pb2 import Job
from storeedge.v1.desired_pb2 import Desired
from storeedge.v1.record_pb2 import Record
from storeedge.v1.types_pb2 import (
    RECORD_CLASS_AUDIT,
    RECORD_CLASS_EVENT,
    RECORD_CLASS_TELEMETRY,
    NodeRef,
)

_MAX_POINTS = 150_000  # about 3 MiB in one answer


def require(db: sqlite3.Connection, ref: NodeRef) -> NodeRow:
    """Raises RefusedError(NODE_UNKNOWN)."""
    name = NodeName(ref.store, ref.node)
    node = nodes.find(db, name)
    if node is None:
        raise refused("NODE_UNKNOWN", f"{name}: no such node; make it a token first")
    return node


def jobs(db: sqlite3.Connection, request: wire.ListNodeJobsRequest) -> list[Job]:
    node = require(db, request.node)
    found = fold.jobs(record for _, record in records.bodies(db, node.id, RECORD_CLASS_EVENT))
    images = {job.id: job.image for job in Desired.FromString(nodes.desired(db, node.id)[1]).jobs}
    for job in found:
        job.image = images.get(job.id, "")
    return found


def query_metrics(db: sqlite3.Connection, request: wire.QueryMetricsRequest) -> wire.QueryMetricsResponse:
    """The newest points of each series. Raises RefusedError when they are too many for one answer."""
    node, limit = require(db, request.node), request.limit or 1
    found: dict[metrics.Key, list[metrics.Point]] = {}
    stored = 0
    for _, record in records.bodies(db, node.id, RECORD_CLASS_TELEMETRY):
        if record.WhichOneof("body") != "metrics":
            continue
        for key, points in metrics.decode(record.metrics, request.name):
            stored += len(points)
            newer = [point for point in points if point.time_unix_nano >= request.since_unix_nano]
            if newer:
                found[key] = (found.get(key, []) + newer)[-limit:]
    if sum(map(len, found.values())) > _MAX_POINTS:
        raise refused("NO_ROOM", f"more than {_MAX_POINTS} points: name one metric, or lower the limit")
    return wire.QueryMetricsResponse(
        series=[_series(key, found[key]) for key in sorted(found, key=lambda k: (k.name, k.attributes))], points=stored
    )


def _series(key: metrics.Key, points: Iterable[metrics.Point]) -> wire.MetricSeries:
    return wire.MetricSeries(
        name=key.name,
        unit=key.unit,
        kind=key.kind,
        attributes=dict(key.attributes),
        points=[wire.MetricPoint(time_unix_nano=p.time_unix_nano, value=p.value) for p in points],
    )


def query_records(db: sqlite3.Connection, request: wire.QueryRecordsRequest) -> list[wire.StoredRecord]:
    if request.HasField("node"):
        node: int | None = require(db, request.node).id
    elif request.record_class == RECORD_CLASS_AUDIT:
        node = None
    else:
        raise refused("BAD_REQUEST", "node: is required, except for central's own audit trail")
    found = records.read(
        db,
        node,
        request.record_class,
        after_id=request.after_id,
        limit=request.limit or 100,
        newest=request.newest,
    )
    return [
        wire.StoredRecord(
            id=stored.id,
            node=_ref(stored.node) if stored.node else None,
            record_class=request.record_class,
            seq=stored.seq,
            spool_epoch=stored.epoch,
            received_unix_nano=stored.received,
            record=record_of(stored.body),
        )
        for stored in found
    ]


def record_of(body: bytes) -> Record:
    """Without a body when what is stored is no record: who asked shall see that there was one."""
    try:
        return Record.FromString(body)
    except DecodeError:
        return Record()


def _ref(name: NodeName) -> NodeRef:
    return NodeRef(store=name.store, node=name.node)
