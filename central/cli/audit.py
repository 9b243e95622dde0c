"""edgectl audit [S/N | central]: who did what, and who was refused."""

import argparse
from collections.abc import Mapping

from central.cli import client, records, show
from storeedge.v1.operator_pb2 import StoredRecord
from storeedge.v1.types_pb2 import RECORD_CLASS_AUDIT


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", nargs="?", default="central", metavar="S/N | central")
    parser.add_argument("--limit", type=int, default=50, help="newest to show as a table, 1..1000; --json gives all")
    parser.add_argument("--refused", action="store_true", help="only what did not end well")


def run(arguments: argparse.Namespace) -> int:
    node = None if arguments.node == "central" else client.node_ref(arguments.node)
    with client.operator(arguments) as central:
        if arguments.json or arguments.refused:
            found = list(records.everything(central, node, RECORD_CLASS_AUDIT))
        else:
            found = records.newest(central, node, RECORD_CLASS_AUDIT, arguments.limit)
    found = [e for e in found if e.record.WhichOneof("body") == "audit"]
    if arguments.refused:
        found = [e for e in found if e.record.audit.outcome != "ok"]
    if arguments.json:
        show.document({"audit": [_plain(each) for each in found]})
        return 0
    show.table(
        f"audit trail of {arguments.node}",
        ("time (UTC)", "actor", "action", "target", "outcome", "detail"),
        (_row(each) for each in found[-arguments.limit :]),
    )
    return 0


def _row(stored: StoredRecord) -> tuple[object, ...]:
    entry = stored.record.audit
    return (
        show.moment(stored.record.time_unix_nano),
        show.identity(entry.actor),
        entry.action,
        entry.target,
        show.good(entry.outcome, well=entry.outcome == "ok"),
        entry.detail,
    )


def _plain(stored: StoredRecord) -> Mapping[str, object]:
    return {"seq": stored.seq, "time_unix_nano": stored.record.time_unix_nano} | show.plain(stored.record.audit)
