"""Records from central, page after page."""

from collections.abc import Iterator

from central.cli import client
from storeedge.v1.operator_pb2 import QueryRecordsRequest, StoredRecord
from storeedge.v1.operator_pb2_grpc import OperatorStub
from storeedge.v1.types_pb2 import NodeRef, RecordClass

_PAGE = 1000


def everything(central: OperatorStub, node: NodeRef | None, record_class: RecordClass) -> Iterator[StoredRecord]:
    """All records of a class up to now, oldest first; those of central itself when `node` is None.

    "Now" matters: each question is itself written to central's audit trail, which would never end.
    """
    end = newest(central, node, record_class, 1)
    last = 0
    while end and last < end[0].id:
        request = QueryRecordsRequest(node=node, record_class=record_class, after_id=last, limit=_PAGE)
        page = central.QueryRecords(request, timeout=client.TIMEOUT_SECONDS).records
        yield from (stored for stored in page if stored.id <= end[0].id)
        if not page:
            return
        last = page[-1].id


def newest(central: OperatorStub, node: NodeRef | None, record_class: RecordClass, limit: int) -> list[StoredRecord]:
    """The last `limit` records, oldest first."""
    request = QueryRecordsRequest(node=node, record_class=record_class, limit=limit, newest=True)
    return list(central.QueryRecords(request, timeout=client.TIMEOUT_SECONDS).records)
