"""edge-agent broker: what the store's broker starts from, and the password of the store's own tools."""

import argparse
import asyncio
import sys
from pathlib import Path

from agent.cli.enrol import become_owner
from agent.clock import Clock, system_clock
from agent.config.load import load
from agent.errors import EdgeError
from agent.jobs.live import live
from agent.mqtt import tenants
from agent.mqtt.access import policy, secret, seed
from agent.mqtt.access.accounts_file import AccountsFile
from agent.mqtt.access.ca import DeviceCa
from agent.mqtt.users import STORE

HELP = "what the store's broker starts from; the password of the store's own tools"


def add(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    prepare = verbs.add_parser("prepare", help="make what is missing, print who may do what; systemd does this")
    prepare.set_defaults(handler=_prepare)
    password = verbs.add_parser("password", help="of a user of this box's own")
    password.add_argument("user", choices=[STORE])
    password.set_defaults(handler=_password)


def _prepare(args: argparse.Namespace) -> int:
    """1 when the broker must start with the certificates that are there: who may do what is printed all the same."""
    config = load(args.config)
    become_owner(config.node.state_dir)
    clock = system_clock()
    access, revoked = _known(config.node.state_dir, clock)
    try:
        asyncio.run(DeviceCa(config.node.state_dir, config.mqtt.broker_dir, clock).ensure(revoked))
    except EdgeError as why:
        print(f"edge-agent: the broker's certificates are as they were: {why}", file=sys.stderr)
        return 1
    finally:
        sys.stdout.buffer.write(seed.document(access))
    return 0


def _password(args: argparse.Namespace) -> int:
    config = load(args.config)
    become_owner(config.node.state_dir)
    print(secret.password(secret.load_or_make(config.node.state_dir), "store", args.user, 0))
    return 0


def _known(state_dir: Path, clock: Clock) -> tuple[policy.Access, tuple[str, ...]]:
    """What there is to be at the broker, and the revoked certificates. Raises StorageError, CorruptError."""
    key = secret.load_or_make(state_dir)
    file = AccountsFile(state_dir / "accounts.db", clock.wall_nano)
    try:
        accounts = {account.id: account for account in file.load()}
        revoked = file.revoked(clock.wall_nano())
    finally:
        file.close()
    views = live(state_dir / "jobs.db", clock.boot_id)
    return policy.Access(key, accounts, tenants.users(key, views, accounts.values()), views), revoked
