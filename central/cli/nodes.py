"""edgectl nodes: the fleet."""

import argparse

from rich.text import Text

from central.cli import client, show
from storeedge.v1.operator_pb2 import ListNodesRequest, Node


def add(parser: argparse.ArgumentParser) -> None:
    del parser  # no arguments of its own


def run(arguments: argparse.Namespace) -> int:
    with client.operator(arguments) as central:
        found = central.ListNodes(ListNodesRequest(), timeout=client.TIMEOUT_SECONDS).nodes
    if arguments.json:
        show.document({"nodes": [show.plain(node) for node in found]})
        return 0
    columns = (
        "node",
        "state",
        "version",
        "#desired",
        "#applied",
        "last seen (UTC)",
        "certificate until (UTC)",
        "#waiting",
    )
    show.table(
        f"{len(found)} nodes",
        columns,
        (
            (
                client.ref_text(node.ref),
                state(node),
                node.agent_version,
                node.desired_revision,
                node.applied_revision,
                show.moment(node.last_seen_unix_nano),
                show.moment(node.certificate_not_after_unix_nano),
                node.spool_records,
            )
            for node in found
        ),
    )
    return 0


def state(node: Node) -> Text:
    if not node.enrolled_unix_nano:
        return Text("invited", style="yellow")
    return show.good("connected" if node.connected else "away", well=node.connected)
