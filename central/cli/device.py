"""edgectl device send S/N DEVICE NAME PAYLOAD: a command to a device, and its answer."""

import argparse
import sys

from central.cli import client, show
from storeedge.v1.agent_pb2 import SendDeviceCommandRequest, SendDeviceCommandResponse


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["send"])
    parser.add_argument("node", metavar="S/N")
    parser.add_argument("device", metavar="DEVICE")
    parser.add_argument("name", metavar="NAME", help="of the command")
    parser.add_argument("payload", nargs="?", default="", metavar="PAYLOAD")
    parser.add_argument("--timeout", type=int, default=10, metavar="SECONDS", help="1..60")
    parser.add_argument("--key", default="", help="idempotency key: the same key is sent once")


def run(arguments: argparse.Namespace) -> int:
    request = SendDeviceCommandRequest(
        device=arguments.device,
        name=arguments.name,
        payload=arguments.payload.encode(),
        timeout_milli=arguments.timeout * 1000,
        idempotency_key=arguments.key,
    )
    with client.operator(arguments) as central:
        answer = client.ask(
            central,
            client.node_ref(arguments.node),
            "SendDeviceCommand",
            request,
            SendDeviceCommandResponse,
            arguments.timeout * 1000 + 2000,
        )
    if arguments.json:
        show.document(show.plain(answer))
    else:
        sys.stdout.write(f"{show.text(answer.payload)}  ({answer.elapsed_milli} ms)\n")
    return 0
