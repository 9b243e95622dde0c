"""edge-agent status: is this store's box all right, in ten seconds."""

import argparse

from agent.cli.local import TIMEOUT_SECONDS, Local, document, moment
from storeedge.v1 import agent_pb2

HELP = "who this node is and whether central hears it"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    with Local(args) as agent:
        node = agent.GetNode(agent_pb2.GetNodeRequest(), timeout=TIMEOUT_SECONDS)
    if args.json:
        document(node)
        return 0
    for name, value in (
        ("node", node.spiffe_id),
        ("central", "connected" if node.connected else "not connected (records wait in the spool)"),
        ("agent", f"{node.agent_version}, pid {node.agent_pid}"),
        ("desired state", f"revision {node.desired_revision}"),
        ("certificate", f"until {moment(node.certificate_not_after_unix_nano)}"),
        ("launcher", ", ".join(f"{k}={v}" for k, v in sorted(node.launcher.items())) or "unknown"),
        *(("condition", condition) for condition in node.conditions),
        ("up", f"{node.uptime_seconds // 3600} h {node.uptime_seconds // 60 % 60} min"),
    ):
        print(f"{name:14} {value}")
    return 0
