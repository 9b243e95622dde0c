"""edgectl messages S/N: what devices have sent, as central holds it."""

import argparse
from collections.abc import Mapping

from central.cli import client, records, show
from storeedge.v1.operator_pb2 import StoredRecord
from storeedge.v1.types_pb2 import RECORD_CLASS_DEVICE

_COLUMNS = 60


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="S/N")
    parser.add_argument("--limit", type=int, default=50, help="newest to show as a table, 1..1000; --json gives all")


def run(arguments: argparse.Namespace) -> int:
    node = client.node_ref(arguments.node)
    with client.operator(arguments) as central:
        if arguments.json:
            found = list(records.everything(central, node, RECORD_CLASS_DEVICE))
        else:
            found = records.newest(central, node, RECORD_CLASS_DEVICE, arguments.limit)
    if arguments.json:
        show.document(
            {
                "messages": [_plain(each) for each in found if each.record.WhichOneof("body") == "device"],
                "gaps": [_plain(each) for each in found if each.record.WhichOneof("body") == "gap"],
            }
        )
        return 0
    show.table(
        f"newest {len(found)} messages of {arguments.node}",
        ("#seq", "time (UTC)", "topic", "payload"),
        ((each.seq, show.moment(each.record.time_unix_nano), *_words(each)) for each in found),
    )
    return 0


def _plain(stored: StoredRecord) -> Mapping[str, object]:
    body = stored.record.device if stored.record.WhichOneof("body") == "device" else stored.record.gap
    return {
        "seq": stored.seq,
        "spool_epoch": stored.spool_epoch,
        "time_unix_nano": stored.record.time_unix_nano,
        "received_unix_nano": stored.received_unix_nano,
    } | show.plain(body)


def _words(stored: StoredRecord) -> tuple[str, str]:
    record = stored.record
    if record.WhichOneof("body") == "gap":
        return "(gap)", f"{record.gap.count} dropped: {record.gap.reason}"
    payload = show.text(record.device.payload)
    return record.device.topic, payload if len(payload) <= _COLUMNS else f"{payload[:_COLUMNS]}…"
