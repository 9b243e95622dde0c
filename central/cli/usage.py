"""edgectl usage [S/N]: the tenants' bill, and whether its chain of hashes holds."""

import argparse

from central.cli import client, show
from storeedge.v1.operator_pb2 import QueryUsageRequest


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", nargs="?", default="", metavar="S/N")
    parser.add_argument("--tenant", default="")


def run(arguments: argparse.Namespace) -> int:
    node = client.node_ref(arguments.node) if arguments.node else None
    with client.operator(arguments) as central:
        request = QueryUsageRequest(node=node, tenant=arguments.tenant)
        found = central.QueryUsage(request, timeout=client.TIMEOUT_SECONDS).usage
    if arguments.json:
        show.document({"usage": [show.plain(usage) for usage in found]})
        return 0
    show.table(
        "usage",
        ("node", "tenant", "#cpu s", "#memory MiB*s", "#running s", "#samples", "chain"),
        (
            (
                client.ref_text(usage.node),
                usage.tenant,
                f"{usage.cpu_nano / 1e9:.3f}",
                f"{usage.memory_byte_seconds / (1 << 20):.1f}",
                f"{usage.wall_nano / 1e9:.1f}",
                usage.samples,
                show.good("valid" if usage.chain_valid else "BROKEN", well=usage.chain_valid),
            )
            for usage in found
        ),
    )
    return 0
