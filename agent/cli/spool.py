"""edge-agent spool: what waits for central."""

import argparse

from agent.cli.local import TIMEOUT_SECONDS, Local, document, table
from storeedge.v1 import agent_pb2, types_pb2

HELP = "records that wait for central"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    with Local(args) as agent:
        reply = agent.GetSpool(agent_pb2.GetSpoolRequest(), timeout=TIMEOUT_SECONDS)
    if args.json:
        document(reply)
        return 0
    print(f"{reply.bytes} of {reply.limit_bytes} bytes, epoch {reply.epoch}")
    table(
        ("CLASS", "WAITING", "ACKNOWLEDGED UP TO", "DROPPED"),
        [
            (
                types_pb2.RecordClass.Name(c.record_class).removeprefix("RECORD_CLASS_").lower(),
                c.records,
                c.acked_seq,
                c.dropped,
            )
            for c in reply.classes
        ],
    )
    return 0
