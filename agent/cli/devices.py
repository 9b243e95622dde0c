"""edge-agent devices: who is registered or has published here."""

import argparse
from collections.abc import Iterator

from agent.cli.device import credential
from agent.cli.local import TIMEOUT_SECONDS, Local, document, moment, table
from storeedge.v1 import agent_pb2, agent_pb2_grpc

HELP = "devices on this store's broker"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--zone", default="")
    parser.add_argument("--class", dest="device_class", default="", metavar="CLASS")
    parser.add_argument("--silent", action="store_true", help="only those that are silent for too long")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    asked = agent_pb2.ListDevicesRequest(zone=args.zone, device_class=args.device_class, silent=args.silent)
    found = agent_pb2.ListDevicesResponse()
    with Local(args) as agent:
        for page in pages(agent, asked):
            found.devices.extend(page.devices)
            found.total, found.online = page.total, page.online
    if args.json:
        document(found)
        return 0
    table(
        ("DEVICE", "ONLINE", "ZONE", "CLASS", "CREDENTIAL", "MESSAGES", "BYTES", "LAST SEEN", "LAST TOPIC"),
        [
            (
                d.id,
                "silent" if d.silent else "yes" if d.online else "no",
                d.zone or "-",
                d.device_class or "-",
                credential(d),
                d.messages,
                d.bytes,
                moment(d.last_seen_unix_nano),
                d.last_topic,
            )
            for d in found.devices
        ],
    )
    print(f"{len(found.devices)} shown; {found.total} known here, {found.online} online")
    return 0


def pages(
    agent: agent_pb2_grpc.AgentServiceStub, asked: agent_pb2.ListDevicesRequest
) -> Iterator[agent_pb2.ListDevicesResponse]:
    """All of them, page by page. `asked` is used up."""
    while True:
        page = agent.ListDevices(asked, timeout=TIMEOUT_SECONDS)
        yield page
        if not (page.more and page.devices):
            return
        asked.after = page.devices[-1].id
