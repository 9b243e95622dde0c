"""edge-agent logs JOB: what a job wrote."""

import argparse
import sys

from agent.cli.local import Local
from storeedge.v1 import agent_pb2

HELP = "the last lines of a job, or all that come"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    parser.add_argument("--tail", type=int, default=65536, metavar="BYTES", help="begin this far from the end")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    request = agent_pb2.StreamLogsRequest(job=args.job, tail_bytes=args.tail, follow=args.follow)
    with Local(args) as agent:
        for part in agent.StreamLogs(request):
            for line in part.lines:
                out = sys.stderr if line.stderr else sys.stdout
                print(line.text.decode(errors="replace"), file=out, flush=True)
    return 0
