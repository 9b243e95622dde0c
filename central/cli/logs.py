"""edgectl logs S/N JOB [-f] [--tail N]: a job's output, fetched from its node."""

import argparse
import sys

from central.cli import client, show
from storeedge.v1.agent_pb2 import LogLine, StreamLogsRequest, StreamLogsResponse

_FOLLOW_MILLI = 86_400_000


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="S/N")
    parser.add_argument("job", metavar="JOB")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    parser.add_argument("--tail", type=int, default=65536, metavar="BYTES", help="last bytes to begin with, 1..1048576")


def run(arguments: argparse.Namespace) -> int:
    request = StreamLogsRequest(job=arguments.job, tail_bytes=arguments.tail, follow=arguments.follow)
    deadline = _FOLLOW_MILLI if arguments.follow else client.TIMEOUT_SECONDS * 1000
    kept: list[LogLine] = []
    with client.operator(arguments) as central:
        node = client.node_ref(arguments.node)
        for part in client.call(central, node, "StreamLogs", request, StreamLogsResponse, deadline):
            if arguments.json:
                kept.extend(part.lines)
            else:
                _write(part)
    if arguments.json:
        show.document({"lines": [show.plain(line) for line in kept]})
    return 0


def _write(part: StreamLogsResponse) -> None:
    """A tenant's bytes never reach the terminal as commands: only what is printable, and tabs."""
    for line in part.lines:
        out = sys.stderr if line.stderr else sys.stdout
        out.write(show.text(line.text) + "\n")
    sys.stdout.flush()
