"""edge-agent devices: who has published here."""

import argparse

from agent.cli.local import TIMEOUT_SECONDS, Local, document, moment, table
from storeedge.v1 import agent_pb2

HELP = "devices on this store's broker"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    with Local(args) as agent:
        reply = agent.ListDevices(agent_pb2.ListDevicesRequest(), timeout=TIMEOUT_SECONDS)
    if args.json:
        document(reply)
        return 0
    table(
        ("DEVICE", "ONLINE", "MESSAGES", "BYTES", "LAST SEEN", "LAST TOPIC"),
        [
            (d.id, "yes" if d.online else "no", d.messages, d.bytes, moment(d.last_seen_unix_nano), d.last_topic)
            for d in reply.devices
        ],
    )
    return 0
