"""edgectl job stop S/N JOB: end the current run; a service is started again by its restart policy."""

import argparse

from central.cli import client, show
from storeedge.v1.agent_pb2 import StopJobRequest, StopJobResponse


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["stop"])
    parser.add_argument("node", metavar="S/N")
    parser.add_argument("job", metavar="JOB")


def run(arguments: argparse.Namespace) -> int:
    with client.operator(arguments) as central:
        node = client.node_ref(arguments.node)
        client.ask(central, node, "StopJob", StopJobRequest(job=arguments.job), StopJobResponse)
    if arguments.json:
        show.document({"stopped": arguments.job, "node": arguments.node})
    return 0
