"""edge-agent device: identities of devices at this store's broker, and commands to them."""

import argparse
import sys
from pathlib import Path

from agent.cli import device_list
from agent.cli.device_list import ListError
from agent.cli.local import TIMEOUT_SECONDS, Local, document, moment, table
from agent.errors import RefusedError
from storeedge.v1 import agent_pb2

HELP = "give a device its identity, take it away, command it"

_SLOW_SECONDS = 60.0  # a child process makes certificates; a small board takes seconds to start one
_LATER = (
    "not in force yet: the broker is away, or takes long with so many. It will be; `systemctl restart mosquitto` makes"
    " it so in seconds"
)


def add(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    new = verbs.add_parser("add", help="register a device, or change it; what isn't named stays as it is")
    new.add_argument("id", metavar="ID")
    kind = new.add_mutually_exclusive_group()
    kind.add_argument("--csr", type=Path, metavar="FILE", help="a certificate for this request (PEM or DER)")
    kind.add_argument("--key", action="store_true", help="a certificate with a key made here, which is not kept")
    kind.add_argument("--password", action="store_true", help="a new password; the one before ends")
    new.add_argument("--zone")
    new.add_argument("--class", dest="device_class", metavar="CLASS")
    new.add_argument("--silent-after", type=int, metavar="SECONDS", help="alarm after; 0 = never")
    new.add_argument("--protocol", choices=["native", "sparkplug", "zigbee2mqtt"])
    new.add_argument("--group", help="Sparkplug group id")
    new.add_argument("--days", type=int, default=0, metavar="N", help="life of the certificate (730, at most 3650)")
    new.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="for ID.crt, ID.key and ca.crt")
    new.set_defaults(handler=_add)
    revoke = verbs.add_parser("revoke", help="throw a device out; it can't come back")
    revoke.add_argument("id", metavar="ID")
    revoke.add_argument("--forget", action="store_true", help="out of the registry too")
    revoke.set_defaults(handler=_revoke)
    many = verbs.add_parser("import", help=f"many devices, from CSV with a header of {','.join(device_list.COLUMNS)}")
    many.add_argument("file", type=Path, metavar="FILE.csv")
    many.add_argument("--out", type=Path, metavar="DIR", help="for certificates, keys and devices.csv with passwords")
    many.set_defaults(handler=_import)
    show = verbs.add_parser("show", help="all that is known of a device, with its last values")
    show.add_argument("id", metavar="ID")
    show.add_argument("--json", action="store_true")
    show.set_defaults(handler=_show)
    command = verbs.add_parser("command", help="send a command, wait for the answer")
    command.add_argument("id", metavar="ID")
    command.add_argument("name", metavar="NAME")
    command.add_argument("payload", nargs="?", default="", metavar="PAYLOAD")
    command.add_argument("--timeout", type=int, default=10, metavar="SECONDS", help="1..60")
    command.add_argument("--queue", type=int, default=0, metavar="SECONDS", help="kept for a device that is away")
    command.set_defaults(handler=_command)


def _add(args: argparse.Namespace) -> int:
    try:
        request = agent_pb2.PutDeviceRequest(
            device=args.id,
            zone=args.zone,
            device_class=args.device_class,
            silent_after_seconds=args.silent_after,
            protocol=device_list.protocol(args.protocol) if args.protocol else None,
            group=args.group,
            csr_der=device_list.csr(args.csr) if args.csr else b"",
            make_key=args.key,
            make_password=args.password,
            days=args.days,
        )
        with Local(args) as agent:
            reply = agent.PutDevice(request, timeout=_SLOW_SECONDS)
        told = device_list.keep(args.id, reply, reply.ca_der, args.out if args.csr or args.key else None)
    except ListError as error:
        raise RefusedError("BAD_REQUEST", str(error)) from error
    except ValueError as error:  # what no uint32 holds
        raise RefusedError("BAD_REQUEST", f"--silent-after or --days: {error}") from error
    for word in ("user", "password", "certificate", "key"):
        if told[word]:
            print(f"{word + ':':<13}{told[word]}")
    if told["not_after"]:
        print(f"ca:          {args.out / 'ca.crt'}\nuntil:       {told['not_after']}")
    return _in_force(known=reply.in_force)


def _revoke(args: argparse.Namespace) -> int:
    with Local(args) as agent:
        reply = agent.RevokeDevice(
            agent_pb2.RevokeDeviceRequest(device=args.id, forget=args.forget), timeout=_SLOW_SECONDS
        )
    return _in_force(known=reply.in_force)


def _import(args: argparse.Namespace) -> int:
    try:
        rows = device_list.read(args.file)
        with Local(args) as agent:
            told, known = device_list.put(rows, lambda asked: agent.PutDevices(asked, timeout=_SLOW_SECONDS), args.out)
        if args.out:
            print(f"{len(told)} devices: {device_list.write_result(told, args.out)}", file=sys.stderr)
        else:
            sys.stdout.write(device_list.as_csv(told))
    except ListError as error:
        raise RefusedError("BAD_REQUEST", str(error)) from error
    return _in_force(known=known)


def _show(args: argparse.Namespace) -> int:
    with Local(args) as agent:
        reply = agent.ListDevices(agent_pb2.ListDevicesRequest(device=args.id), timeout=TIMEOUT_SECONDS)
    if not reply.devices:
        raise RefusedError("NOT_FOUND", f"{args.id}: no such device here")
    device = reply.devices[0]
    if args.json:
        document(device)
        return 0
    facts = {
        "online": "yes" if device.online else "no",
        "silent": "for too long" if device.silent else "no",
        "zone": device.zone,
        "class": device.device_class,
        "credential": credential(device),
        "certificate until": moment(device.certificate_not_after_unix_nano),
        "first seen": moment(device.first_seen_unix_nano),
        "last seen": moment(device.last_seen_unix_nano),
        "messages": f"{device.messages} ({device.messages_per_minute:.1f} a minute)",
        "bytes": f"{device.bytes} ({device.bytes_per_minute:.0f} a minute)",
        "last topic": device.last_topic,
    }
    table(("WHAT", "VALUE"), [(name, value or "-") for name, value in facts.items()])
    if device.values:
        print()
        table(
            ("NAME", "VALUE", "UNIT", "SINCE"),
            [
                (v.name, getattr(v, v.WhichOneof("value") or "text"), v.unit or "-", moment(v.time_unix_nano))
                for v in device.values
            ],
        )
    return 0


def _command(args: argparse.Namespace) -> int:
    request = agent_pb2.SendDeviceCommandRequest(
        device=args.id,
        name=args.name,
        payload=args.payload.encode(),
        timeout_milli=args.timeout * 1000,
        queue_seconds=args.queue,
    )
    with Local(args) as agent:
        reply = agent.SendDeviceCommand(request, timeout=args.timeout + 5)
    if reply.state in (agent_pb2.COMMAND_STATE_QUEUED, agent_pb2.COMMAND_STATE_SENT):
        print(f"goes on without you: {reply.command}")
    else:
        print(reply.payload.decode(errors="replace"))
    return 0


def credential(device: agent_pb2.Device) -> str:
    """One word; a dash for a device that was only heard of."""
    word = agent_pb2.Credential.Name(device.credential).removeprefix("CREDENTIAL_").lower()
    return "-" if word == "unspecified" else word


def _in_force(*, known: bool) -> int:
    if not known:
        print(_LATER, file=sys.stderr)
    return 0
