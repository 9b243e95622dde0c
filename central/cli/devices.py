"""edgectl devices S/N: devices, from their node."""

import argparse

from central.cli import client, show
from storeedge.v1 import agent_pb2 as wire


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="S/N")
    parser.add_argument("--zone", default="")
    parser.add_argument("--class", dest="device_class", default="", metavar="CLASS")
    parser.add_argument("--device", default="", metavar="DEVICE", help="only this one, with its last values")
    parser.add_argument("--silent", action="store_true", help="only those that are silent for too long")


def run(arguments: argparse.Namespace) -> int:
    asked = wire.ListDevicesRequest(
        zone=arguments.zone, device_class=arguments.device_class, device=arguments.device, silent=arguments.silent
    )
    found, total, online, more = list[wire.Device](), 0, 0, True
    with client.operator(arguments) as central:
        node = client.node_ref(arguments.node)
        while more:
            page = client.ask(central, node, "ListDevices", asked, wire.ListDevicesResponse)
            found.extend(page.devices)
            total, online = page.total, page.online
            more = page.more and bool(page.devices)
            asked.after = found[-1].id if found else ""
    if arguments.json:
        devices = [show.plain(device) for device in found]
        show.document({"devices": devices, "total": total, "online": online})
        return 0
    show.table(
        f"{len(found)} devices shown; {total} known there, {online} online",
        ("device", "state", "zone", "class", "credential", "#messages", "#bytes", "last seen (UTC)", "last topic"),
        (
            (
                device.id,
                _state(device),
                device.zone,
                device.device_class,
                _credential(device),
                device.messages,
                show.size(device.bytes),
                show.moment(device.last_seen_unix_nano),
                device.last_topic,
            )
            for device in found
        ),
    )
    if arguments.device and found and found[0].values:
        show.table(
            "last values",
            ("name", "value", "unit", "as of (UTC)"),
            (
                (v.name, getattr(v, v.WhichOneof("value") or "text"), v.unit, show.moment(v.time_unix_nano))
                for v in found[0].values
            ),
        )
    return 0


def _state(device: wire.Device) -> object:
    word = "silent" if device.silent else "online" if device.online else "offline"
    return show.good(word, well=device.online and not device.silent)


def _credential(device: wire.Device) -> str:
    """With the day its certificate ends."""
    if device.credential == wire.CREDENTIAL_UNSPECIFIED:
        return "-"
    word = show.word(wire.Credential.Name(device.credential).removeprefix("CREDENTIAL_"))
    ends = device.certificate_not_after_unix_nano
    return f"{word} until {show.moment(ends)[:10]}" if ends else word
