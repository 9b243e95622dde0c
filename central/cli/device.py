"""edgectl device: identities of a node's devices, and commands to them."""

import argparse
import sys
from pathlib import Path
from typing import Any

from central.cli import client, device_list, show
from central.cli.device_list import ListError
from central.cli.errors import CliError
from storeedge.v1 import agent_pb2 as wire
from storeedge.v1.types_pb2 import NodeRef

_LATER = (
    "not in force yet: the broker is away, or takes long with so many. It will be; on the box `systemctl restart"
    " mosquitto` makes it so in seconds\n"
)
_SLOW_MILLI = 60_000  # a child process of the node makes certificates
_GOES_ON = (wire.COMMAND_STATE_QUEUED, wire.COMMAND_STATE_SENT)


def add(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    new = _verb(verbs, "add", "register a device, or change it; what isn't named stays as it is")
    new.add_argument("device", metavar="DEVICE")
    kind = new.add_mutually_exclusive_group()
    kind.add_argument("--csr", type=Path, metavar="FILE", help="a certificate for this request (PEM or DER)")
    kind.add_argument("--key", action="store_true", help="a certificate with a key made on the node, which keeps none")
    kind.add_argument("--password", action="store_true", help="a new password; the one before ends")
    new.add_argument("--zone")
    new.add_argument("--class", dest="device_class", metavar="CLASS")
    new.add_argument("--silent-after", type=int, metavar="SECONDS", help="alarm after; 0 = never")
    new.add_argument("--protocol", choices=["native", "sparkplug", "zigbee2mqtt"])
    new.add_argument("--group", help="Sparkplug group id")
    new.add_argument("--days", type=int, default=0, metavar="N", help="life of the certificate (730, at most 3650)")
    new.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="for ID.crt, ID.key and ca.crt")
    new.set_defaults(act=_add)
    revoke = _verb(verbs, "revoke", "throw a device out; it can't come back")
    revoke.add_argument("device", metavar="DEVICE")
    revoke.add_argument("--forget", action="store_true", help="out of the registry too")
    revoke.set_defaults(act=_revoke)
    many = _verb(verbs, "import", f"many devices, from CSV with a header of {','.join(device_list.COLUMNS)}", nodes="+")
    many.add_argument("--file", type=Path, required=True, metavar="FILE.csv")
    many.add_argument("--out", type=Path, metavar="DIR", help="for certificates, keys and devices.csv with passwords")
    many.set_defaults(act=_import)
    send = _verb(verbs, "send", "a command to a device, and its answer")
    send.add_argument("device", metavar="DEVICE")
    send.add_argument("name", metavar="NAME", help="of the command")
    send.add_argument("payload", nargs="?", default="", metavar="PAYLOAD")
    send.add_argument("--timeout", type=int, default=10, metavar="SECONDS", help="1..60")
    send.add_argument("--key", default="", help="idempotency key: the same key is sent once")
    send.add_argument("--queue", type=int, default=0, metavar="SECONDS", help="kept for a device that is away")
    send.add_argument("--again", action="store_true", help="sent again until it is answered or has expired")
    send.set_defaults(act=_send)
    listed = _verb(verbs, "commands", "commands that wait, and how the last ones ended")
    listed.add_argument("device", nargs="?", default="", metavar="DEVICE")
    listed.set_defaults(act=_commands)
    cancel = _verb(verbs, "cancel", "a command that was not sent yet")
    cancel.add_argument("command", metavar="COMMAND")
    cancel.set_defaults(act=_cancel)


def run(arguments: argparse.Namespace) -> int:
    try:
        return int(arguments.act(arguments))
    except ListError as error:
        raise CliError(str(error)) from error


def _verb(verbs: Any, name: str, words: str, nodes: str | None = None) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=words)  # argparse's own type for it is private
    # SUPPRESS: unless it is said here, what was said before the verb counts.
    verb.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="one JSON document on stdout")
    verb.add_argument("--dir", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    verb.add_argument("--central", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    verb.add_argument("node", metavar="S/N", nargs=nodes)
    return verb


def _add(arguments: argparse.Namespace) -> int:
    try:
        request = wire.PutDeviceRequest(
            device=arguments.device,
            zone=arguments.zone,
            device_class=arguments.device_class,
            silent_after_seconds=arguments.silent_after,
            protocol=device_list.protocol(arguments.protocol) if arguments.protocol else None,
            group=arguments.group,
            csr_der=device_list.csr(arguments.csr) if arguments.csr else b"",
            make_key=arguments.key,
            make_password=arguments.password,
            days=arguments.days,
        )
    except ListError:
        raise
    except ValueError as error:  # what no uint32 holds
        raise CliError(f"--silent-after or --days: {error}") from error
    with client.operator(arguments) as central:
        node = client.node_ref(arguments.node)
        reply = client.ask(central, node, "PutDevice", request, wire.PutDeviceResponse, _SLOW_MILLI)
    out = arguments.out if arguments.csr or arguments.key else None
    told = device_list.keep(arguments.device, reply, reply.ca_der, out)
    if arguments.json:
        show.document({**told, "in_force": reply.in_force})
        return 0
    if told["credential"] != "unchanged":
        ca = {"ca": str(arguments.out / "ca.crt")} if out else {}
        show.facts(arguments.device, {name: told[name] for name in device_list.RESULT[1:] if told[name]} | ca)
    return _in_force(known=reply.in_force)


def _revoke(arguments: argparse.Namespace) -> int:
    request = wire.RevokeDeviceRequest(device=arguments.device, forget=arguments.forget)
    with client.operator(arguments) as central:
        node = client.node_ref(arguments.node)
        reply = client.ask(central, node, "RevokeDevice", request, wire.RevokeDeviceResponse, _SLOW_MILLI)
    if arguments.json:
        show.document({"id": arguments.device, "in_force": reply.in_force})
        return 0
    return _in_force(known=reply.in_force)


def _import(arguments: argparse.Namespace) -> int:
    """Node by node; each has a device CA and passwords of its own, so with several each gets its own directory."""
    rows = device_list.read(arguments.file)
    nodes = [client.node_ref(name) for name in arguments.node]
    done: dict[str, list[dict[str, str]]] = {}
    with client.operator(arguments) as central:
        for node in nodes:
            name = client.ref_text(node)
            out = arguments.out / name if arguments.out and len(nodes) > 1 else arguments.out

            def call(asked: wire.PutDevicesRequest, node: NodeRef = node) -> wire.PutDevicesResponse:
                return client.ask(central, node, "PutDevices", asked, wire.PutDevicesResponse, _SLOW_MILLI)

            done[name], known = device_list.put(rows, call, out)
            if out is not None:
                sys.stderr.write(f"{name}: {len(rows)} devices: {device_list.write_result(done[name], out)}\n")
            elif not arguments.json:
                sys.stdout.write((f"# {name}\n" if len(nodes) > 1 else "") + device_list.as_csv(done[name]))
            _in_force(known=known)
    if arguments.json:
        show.document(done)
    return 0


def _send(arguments: argparse.Namespace) -> int:
    request = wire.SendDeviceCommandRequest(
        device=arguments.device,
        name=arguments.name,
        payload=arguments.payload.encode(),
        timeout_milli=arguments.timeout * 1000,
        idempotency_key=arguments.key,
        queue_seconds=arguments.queue,
        assurance=wire.ASSURANCE_AT_LEAST_ONCE if arguments.again else wire.ASSURANCE_AT_MOST_ONCE,
    )
    with client.operator(arguments) as central:
        answer = client.ask(
            central,
            client.node_ref(arguments.node),
            "SendDeviceCommand",
            request,
            wire.SendDeviceCommandResponse,
            arguments.timeout * 1000 + 2000,
        )
    if arguments.json:
        show.document(show.plain(answer))
    elif answer.state in _GOES_ON:
        sys.stdout.write(f"goes on without you: {answer.command}\n")
    else:
        sys.stdout.write(f"{show.text(answer.payload)}  ({answer.elapsed_milli} ms)\n")
    return 0


def _commands(arguments: argparse.Namespace) -> int:
    request, found = wire.ListDeviceCommandsRequest(device=arguments.device), list[wire.DeviceCommand]()
    with client.operator(arguments) as central:
        node = client.node_ref(arguments.node)
        more = True
        while more:
            page = client.ask(central, node, "ListDeviceCommands", request, wire.ListDeviceCommandsResponse)
            found.extend(page.commands)
            more = page.more and bool(page.commands)
            request.after = found[-1].id if found else ""
    if arguments.json:
        show.document({"commands": [show.plain(each) for each in found]})
        return 0
    show.table(
        f"{len(found)} commands",
        ("command", "device", "name", "state", "#sent", "asked (UTC)", "until (UTC)", "by", "answer"),
        (
            (
                each.id,
                each.device,
                each.name,
                show.word(wire.CommandState.Name(each.state).removeprefix("COMMAND_STATE_")),
                each.sent,
                show.moment(each.asked_unix_nano),
                show.moment(each.expires_unix_nano),
                show.identity(each.actor),
                show.text(each.answer),
            )
            for each in found
        ),
    )
    return 0


def _cancel(arguments: argparse.Namespace) -> int:
    with client.operator(arguments) as central:
        request = wire.CancelDeviceCommandRequest(command=arguments.command)
        node = client.node_ref(arguments.node)
        client.ask(central, node, "CancelDeviceCommand", request, wire.CancelDeviceCommandResponse)
    if arguments.json:
        show.document({"command": arguments.command})
    return 0


def _in_force(*, known: bool) -> int:
    if not known:
        sys.stderr.write(_LATER)
    return 0
