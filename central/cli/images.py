"""edgectl images S/N: what a node has fetched and unpacked."""

import argparse

from central.cli import client, show
from storeedge.v1.agent_pb2 import ListImagesRequest, ListImagesResponse


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="S/N")


def run(arguments: argparse.Namespace) -> int:
    with client.operator(arguments) as central:
        node = client.node_ref(arguments.node)
        images = client.ask(central, node, "ListImages", ListImagesRequest(), ListImagesResponse).images
    if arguments.json:
        show.document({"images": [show.plain(each) for each in images]})
        return 0
    show.table(
        f"images on {arguments.node}",
        ("digest", "state", "#done", "#of", "#on disk", "last used (UTC)", "message"),
        (
            (
                each.digest,
                show.good(each.state, well=each.state != "failed"),
                show.size(each.done_bytes),
                show.size(each.total_bytes),
                show.size(each.disk_bytes),
                show.moment(each.last_used_unix_nano),
                each.message,
            )
            for each in images
        ),
    )
    return 0
