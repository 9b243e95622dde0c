"""edge-agent enrol: turns this box into a node with a one-time token."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from agent import log
from agent.clock import system_clock
from agent.config.load import load
from agent.errors import ConfigError, RefusedError
from agent.identity.enrol import enrol
from agent.identity.refusals import add_refusal
from agent.model import AuditEntry

HELP = "make this box a node of central's"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--central", required=True, metavar="HOST:PORT", help="central's enrolment port")
    parser.add_argument(
        "--token", required=True, metavar="TOKEN", help="from `edgectl token create`; - reads it from standard input"
    )
    parser.add_argument("--force", action="store_true", help="replace the identity this box has")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    config = load(args.config)
    log.configure(config.log.level)
    state_dir, clock, caller = config.node.state_dir, system_clock(), os.getuid()
    become_owner(state_dir)
    token = sys.stdin.readline() if args.token == "-" else args.token  # noqa: S105 - the word for standard input
    try:
        identity = asyncio.run(enrol(args.central, token, state_dir, hardware(), clock, replace=args.force))
    except RefusedError as error:
        entry = AuditEntry(f"local:uid={caller}", "enrol", args.central, error.reason, str(error))
        add_refusal(state_dir, entry, clock)
        raise
    print(f"enrolled as {identity.spiffe_id}")
    print(f"identity in {identity.directory}, central at {identity.control_address}")
    return 0


def hardware(root: Path = Path("/")) -> str:
    """Board and machine id, for central's inventory; what can't be read is left out."""
    names = ("sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name", "proc/device-tree/model", "etc/machine-id")
    found: list[str] = []
    for name in names:
        try:
            text = (root / name).read_text(errors="replace")
        except OSError:
            continue
        found.append(" ".join(text.replace("\0", " ").split()))
    return ", ".join(filter(None, found))


def become_owner(state_dir: Path) -> None:
    """As root, do it as the agent's user: the daemon must be able to read what is written here."""
    try:
        owner = state_dir.stat()
    except FileNotFoundError:
        raise ConfigError(
            f"{state_dir} does not exist; the package makes it, or create it owned by the agent's user"
        ) from None
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
