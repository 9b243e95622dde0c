"""edge-agent broker: what the store's broker starts from, and the password of the store's own tools."""

import argparse
import asyncio
import sys
from pathlib import Path

from agent.cli.enrol import become_owner
from agent.clock import Clock, system_clock
from agent.config.load import load
from agent.config.schema import Config
from agent.errors import EdgeError, StorageError
from agent.fsio import write_atomic
from agent.mqtt.access import policy, secret, seed
from agent.mqtt.access.accounts_file import AccountsFile
from agent.mqtt.access.ca import DeviceCa
from agent.mqtt.users import STORE

HELP = "what the store's broker starts from; the password of the store's own tools"


def add(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    prepare = verbs.add_parser("prepare", help="make what is missing, write down who may do what; systemd does this")
    prepare.set_defaults(handler=_prepare)
    password = verbs.add_parser("password", help="of a user of this box's own")
    password.add_argument("user", choices=[STORE])
    password.set_defaults(handler=_password)


def _prepare(args: argparse.Namespace) -> int:
    """1 when the broker must start without the certificates: who may do what is written all the same."""
    config = load(args.config)
    become_owner(config.node.state_dir)
    clock = system_clock()
    seed_file = config.mqtt.broker_dir / "seed.json"
    access, revoked = _known(config, clock, seed_file)
    try:
        asyncio.run(DeviceCa(config.node.state_dir, config.mqtt.broker_dir, clock).ensure(revoked))
    except EdgeError as why:
        print(f"edge-agent: the broker's certificates are as they were: {why}", file=sys.stderr)
        return 1
    finally:
        _write(seed_file, seed.document(access))
    return 0


def _password(args: argparse.Namespace) -> int:
    config = load(args.config)
    become_owner(config.node.state_dir)
    print(secret.password(secret.load_or_make(config.node.state_dir), "store", args.user, 0))
    return 0


def _known(config: Config, clock: Clock, seed_file: Path) -> tuple[policy.Access, tuple[str, ...]]:
    """What there is to be at the broker, and the revoked certificates. Raises StorageError, CorruptError."""
    try:
        # One of an earlier start knows nothing of who was revoked since: the broker had better keep its own.
        seed_file.unlink(missing_ok=True)
    except OSError as why:
        raise StorageError(f"{seed_file}: {why.strerror}; systemd-tmpfiles --create makes the directory") from why
    key = secret.load_or_make(config.node.state_dir)
    file = AccountsFile(config.node.state_dir / "accounts.db", clock.wall_nano)
    try:
        accounts = {account.id: account for account in file.load()}
        revoked = file.revoked(clock.wall_nano())
    finally:
        file.close()
    return policy.Access(key, accounts, {}, None), revoked


def _write(path: Path, document: bytes) -> None:
    try:
        write_atomic(path, document, mode=0o640)
    except OSError as why:
        raise StorageError(f"{path}: {why.strerror}") from why
