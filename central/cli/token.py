"""edgectl token create: a one-time token, shown once."""

import argparse
import sys

from central.cli import client, show
from central.cli.checks import seconds_in
from central.cli.errors import CliError
from storeedge.v1.operator_pb2 import CreateTokenRequest


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["create"])
    parser.add_argument("--store", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--ttl", default="1h", help="1m..7d, e.g. 30m, 1h, 2d (default 1h)")


def run(arguments: argparse.Namespace) -> int:
    try:
        seconds = seconds_in(arguments.ttl, 60, 604_800)
    except ValueError as error:
        raise CliError(f"--ttl: {error}") from error
    node = client.node_ref(f"{arguments.store}/{arguments.node}")
    with client.operator(arguments) as central:
        made = central.CreateToken(CreateTokenRequest(node=node, ttl_seconds=seconds), timeout=client.TIMEOUT_SECONDS)
    if arguments.json:
        show.document(show.plain(made))
    else:
        sys.stdout.write(f"{made.token}\n")
    return 0
