"""edgectl devices S/N: devices, from their node."""

import argparse

from central.cli import client, show
from storeedge.v1.agent_pb2 import ListDevicesRequest, ListDevicesResponse


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="S/N")


def run(arguments: argparse.Namespace) -> int:
    with client.operator(arguments) as central:
        node = client.node_ref(arguments.node)
        found = client.ask(central, node, "ListDevices", ListDevicesRequest(), ListDevicesResponse).devices
    if arguments.json:
        show.document({"devices": [show.plain(device) for device in found]})
        return 0
    show.table(
        f"{len(found)} devices",
        ("device", "state", "#messages", "#bytes", "last seen (UTC)", "last topic"),
        (
            (
                device.id,
                show.good("online" if device.online else "offline", well=device.online),
                device.messages,
                show.size(device.bytes),
                show.moment(device.last_seen_unix_nano),
                device.last_topic,
            )
            for device in found
        ),
    )
    return 0
