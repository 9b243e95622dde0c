"""edgectl events S/N: what happened there, each change of a job with its reason, as central holds it."""

import argparse
from collections.abc import Mapping

from central.cli import client, records, show
from storeedge.v1.operator_pb2 import StoredRecord
from storeedge.v1.record_pb2 import Event, JobState
from storeedge.v1.types_pb2 import RECORD_CLASS_EVENT

_COLUMNS = ("time (UTC)", "event", "job", "#gen", "#run", "state", "#exit", "reason", "message")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="S/N")
    parser.add_argument("--job", default="", help="only of this job")
    parser.add_argument("--limit", type=int, default=50, help="newest to show as a table; --json gives all")


def run(arguments: argparse.Namespace) -> int:
    with client.operator(arguments) as central:
        found = list(records.everything(central, client.node_ref(arguments.node), RECORD_CLASS_EVENT))
    events = [each for each in found if each.record.WhichOneof("body") == "event"]
    chosen = [each for each in events if arguments.job in ("", each.record.event.job)]
    if arguments.json:
        show.document({"events": [_plain(each) for each in chosen]})
        return 0
    show.table(f"events of {arguments.node}", _COLUMNS, (_row(each) for each in chosen[-arguments.limit :]))
    return 0


def _plain(stored: StoredRecord) -> Mapping[str, object]:
    place = {"seq": stored.seq, "spool_epoch": stored.spool_epoch, "time_unix_nano": stored.record.time_unix_nano}
    return place | show.plain(stored.record.event)


def _row(stored: StoredRecord) -> tuple[object, ...]:
    event = stored.record.event
    of_job = bool(event.job)
    return (
        show.moment(stored.record.time_unix_nano),
        event.kind,
        event.job,
        event.generation if of_job else "",
        event.attempt if of_job else "",
        _state(event),
        event.exit_code if event.HasField("exit_code") else "",
        event.reason,
        show.text(event.message.encode()),
    )


def _state(event: Event) -> str:
    return show.word(JobState.Name(event.state).removeprefix("JOB_STATE_")) if event.state else ""
