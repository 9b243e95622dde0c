"""edgectl node show S/N: one node, as central and as it sees itself."""

import argparse

from central.cli import client, show
from central.cli.errors import CliError
from central.cli.nodes import state
from storeedge.v1.agent_pb2 import GetNodeRequest, GetNodeResponse, GetSpoolRequest, GetSpoolResponse
from storeedge.v1.operator_pb2 import ListNodesRequest
from storeedge.v1.types_pb2 import RecordClass


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["show"])
    parser.add_argument("node", metavar="S/N")


def run(arguments: argparse.Namespace) -> int:
    """What central knows; and what the node says of itself, if it is there."""
    ref = client.node_ref(arguments.node)
    with client.operator(arguments) as central:
        nodes = central.ListNodes(ListNodesRequest(), timeout=client.TIMEOUT_SECONDS).nodes
        known = next((node for node in nodes if node.ref == ref), None)
        if known is None:
            raise CliError(f"{arguments.node}: no such node (NODE_UNKNOWN)")
        own, spool = None, None
        if known.connected:
            own = client.ask(central, ref, "GetNode", GetNodeRequest(), GetNodeResponse)
            spool = client.ask(central, ref, "GetSpool", GetSpoolRequest(), GetSpoolResponse)
    if arguments.json:
        answer = {"node": show.plain(known), "self": own and show.plain(own), "spool": spool and show.plain(spool)}
        show.document(answer)
        return 0
    values: dict[str, object] = {
        "identity": known.spiffe_id,
        "state": state(known),
        "enrolled (UTC)": show.moment(known.enrolled_unix_nano),
        "last seen (UTC)": show.moment(known.last_seen_unix_nano),
        "certificate until": show.moment(known.certificate_not_after_unix_nano),
        "desired / applied": f"{known.desired_revision} / {known.applied_revision}",
    }

    show.facts(arguments.node, values | (_own(own) if own else {}))
    if spool:
        _show_spool(spool)
    return 0


def _own(own: GetNodeResponse) -> dict[str, object]:
    values: dict[str, object] = {
        "version": own.agent_version,
        "boot": own.boot_id,
        "its time (UTC)": show.moment(own.time_unix_nano),
        "up": f"{own.uptime_seconds} s",
        "agent's pid": own.agent_pid,
    }
    if own.conditions:
        values["conditions"] = "; ".join(own.conditions)
    return values | {f"launcher {key}": value for key, value in sorted(own.launcher.items())}


def _show_spool(spool: GetSpoolResponse) -> None:
    show.table(
        f"spool {spool.epoch}: {show.size(spool.bytes)} of {show.size(spool.limit_bytes)}",
        ("class", "#next", "#acked", "#waiting", "#dropped"),
        (
            (
                show.word(RecordClass.Name(each.record_class).removeprefix("RECORD_CLASS_")),
                each.next_seq,
                each.acked_seq,
                each.records,
                each.dropped,
            )
            for each in spool.classes
        ),
    )
