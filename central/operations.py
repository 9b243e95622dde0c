"""What the operator's questions are answered with: work on the database, in a transaction."""

import sqlite3
from collections.abc import Iterable

from central import bill, bounds, fold, metrics
from central.names import NodeName
from central.refusal import refused
from central.store import nodes, records
from central.store.nodes import NodeRow
from storeedge.v1 import operator_pb2 as wire
from storeedge.v1.agent_pb2 import Job
from storeedge.v1.desired_pb2 import Desired
from storeedge.v1.record_pb2 import Record, UsageSample
from storeedge.v1.types_pb2 import (
    RECORD_CLASS_AUDIT,
    RECORD_CLASS_EVENT,
    RECORD_CLASS_TELEMETRY,
    RECORD_CLASS_USAGE,
    NodeRef,
)

_MAX_POINTS = 150_000  # about 3 MiB in one answer
_UINT64 = (1 << 64) - 1


def require(db: sqlite3.Connection, ref: NodeRef) -> NodeRow:
    """Raises RefusedError(NODE_UNKNOWN)."""
    name = NodeName(ref.store, ref.node)
    node = nodes.find(db, name)
    if node is None:
        raise refused("NODE_UNKNOWN", f"{name}: no such node; make it a token first")
    return node


def check_desired(desired: Desired) -> None:
    """What the bounds of single fields can't say. Raises RefusedError(BAD_REQUEST)."""
    if desired.ByteSize() > bounds.MAX_DESIRED_BYTES:
        raise refused("BAD_REQUEST", f"desired: at most {bounds.MAX_DESIRED_BYTES} bytes, not {desired.ByteSize()}")
    tenants = _unique("tenants", [tenant.id for tenant in desired.tenants])
    _unique("jobs", [job.id for job in desired.jobs])
    for job in desired.jobs:
        if job.tenant not in tenants:
            raise refused("BAD_REQUEST", f"job {job.id}: tenant {job.tenant!r} is not among the tenants")
        if job.limits.tmp_bytes > job.limits.memory_bytes:
            raise refused("BAD_REQUEST", f"job {job.id}: tmp_bytes is at most memory_bytes")


def _unique(what: str, ids: list[str]) -> set[str]:
    twice = {name for name in ids if ids.count(name) > 1}
    if twice:
        raise refused("BAD_REQUEST", f"{what}: {min(twice)!r} appears twice")
    return set(ids)


def apply(db: sqlite3.Connection, request: wire.ApplyRequest) -> list[tuple[NodeRow, int, bool]]:
    """(node, revision, changed) for each node named; all of them or none."""
    desired = Desired()
    desired.CopyFrom(request.desired)
    desired.ClearField("revision")
    content = desired.SerializeToString(deterministic=True)
    found = [require(db, ref) for ref in request.nodes]
    return [(node, *nodes.set_desired(db, node.id, content)) for node in found]


def jobs(db: sqlite3.Connection, request: wire.ListNodeJobsRequest) -> list[Job]:
    node = require(db, request.node)
    return fold.jobs(record for _, record in records.bodies(db, node.id, RECORD_CLASS_EVENT))


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


def query_usage(db: sqlite3.Connection, request: wire.QueryUsageRequest) -> list[wire.TenantUsage]:
    chosen = [require(db, request.node)] if request.HasField("node") else nodes.everyone(db)
    return [usage for node in chosen for usage in _node_usage(db, node, request.tenant)]


def _node_usage(db: sqlite3.Connection, node: NodeRow, tenant: str) -> list[wire.TenantUsage]:
    samples: dict[str, list[tuple[str, UsageSample | None]]] = {}
    gaps: list[tuple[str, UsageSample | None]] = []
    for epoch, record in records.bodies(db, node.id, RECORD_CLASS_USAGE):
        if record.WhichOneof("body") == "usage":
            samples.setdefault(record.usage.tenant, []).append((epoch, record.usage))
        else:
            gaps.append((epoch, None))  # usage is never dropped: somebody's bill is short, and nobody's can be trusted
    return [
        _usage(node, name, bill.add_up(samples[name] + gaps))
        for name in sorted(samples)
        if not tenant or name == tenant
    ]


def _usage(node: NodeRow, tenant: str, total: bill.Bill) -> wire.TenantUsage:
    return wire.TenantUsage(
        node=_ref(node.name),
        tenant=tenant,
        cpu_nano=min(total.cpu_nano, _UINT64),
        memory_byte_seconds=min(total.memory_byte_seconds, _UINT64),
        wall_nano=min(total.wall_nano, _UINT64),
        samples=total.samples,
        chain_valid=total.chain_valid,
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
            record=Record.FromString(stored.body),
        )
        for stored in found
    ]


def _ref(name: NodeName) -> NodeRef:
    return NodeRef(store=name.store, node=name.node)
