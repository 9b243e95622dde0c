"""edge-agent enrol: turns this box into a node with a one-time token."""

import argparse
import asyncio
import logging
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

from agent import log
from agent.backoff import full_jitter
from agent.cli import enrol_file, first_boot
from agent.clock import Clock, system_clock
from agent.config.load import load
from agent.config.schema import Config, NodeConfig
from agent.errors import AwayError, ConfigError, EdgeError, RefusedError
from agent.identity import lock, store
from agent.identity.enrol import SpentError, enrol
from agent.identity.refusals import add_refusal
from agent.identity.store import Identity
from agent.model import AuditEntry

HELP = "make this box a node of central's"

_log = logging.getLogger(__name__)
_BASE_SECONDS, _CAP_SECONDS = 2.0, 60.0  # between two attempts of --wait


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--central", metavar="HOST:PORT", help="central's enrolment port")
    parser.add_argument("--token", metavar="TOKEN", help="from `edgectl token create`; - reads it from standard input")
    parser.add_argument("--file", type=Path, metavar="FILE", help=f"an {enrol_file.NAME}, instead of the two")
    parser.add_argument("--wait", action="store_true", help="try until central is there and answers")
    parser.add_argument("--force", action="store_true", help="replace the identity this box has")
    parser.set_defaults(handler=run, usage_error=parser.error)


def run(args: argparse.Namespace) -> int:
    if bool(args.file) == bool(args.central) or bool(args.central) != bool(args.token):
        args.usage_error("say --central and --token, or --file")
    config = load(args.config)
    log.configure(config.log.level)
    state_dir, clock, caller = config.node.state_dir, system_clock(), os.getuid()
    data = enrol_file.read(args.file) if args.file else b""
    secret = _secret(config, replace=args.force)
    become_owner(state_dir)
    # From here on nothing is root's: what a stick has in it is looked at by the agent's user.
    note = first_boot.Note(state_dir, data, str(args.file), clock) if args.file else None
    try:
        wish = _wish(args, data)
        identity = asyncio.run(_until_enrolled(wish, args, state_dir, clock, caller, secret, note))
    except EdgeError as error:
        if note is not None:
            note.take("refused", str(error))
        raise
    if note is not None:
        note.take("enrolled", identity.spiffe_id)
    print(f"enrolled as {identity.spiffe_id}")
    print(f"identity in {identity.directory}, central at {identity.control_address}")
    print(
        "its key is locked by this machine's TPM" if secret else "its key is a file that only the agent's user may read"
    )
    return 0


def _wish(args: argparse.Namespace, data: bytes) -> enrol_file.Wish:
    if args.file:
        return enrol_file.parse(data, str(args.file))
    token = sys.stdin.readline() if args.token == "-" else args.token  # noqa: S105 - the word for standard input
    return enrol_file.Wish(args.central, token)


async def _until_enrolled(
    wish: enrol_file.Wish,
    args: argparse.Namespace,
    state_dir: Path,
    clock: Clock,
    caller: int,
    secret: bytes,
    note: "first_boot.Note | None",
) -> Identity:
    """Tries again, with --wait, whatever may pass: no network, a portal in between, a clock that is not set yet."""
    attempt, said = 0, ""
    while True:
        try:
            return await enrol(
                wish.central, wish.token, state_dir, hardware(), clock, replace=args.force, secret=secret
            )
        except (AwayError, RefusedError) as error:
            if isinstance(error, RefusedError) and str(error) != said:
                entry = AuditEntry(f"local:uid={caller}", "enrol", wish.central, error.reason, str(error))
                add_refusal(state_dir, entry, clock)
            if not args.wait or not passes(error):
                raise
            if str(error) != said:
                _log.warning("not enrolled yet, trying again: %s", error)
                if note is not None:
                    note.take("waiting", str(error))
            said = str(error)
        attempt += 1
        await asyncio.sleep(full_jitter(attempt, base_seconds=_BASE_SECONDS, cap_seconds=_CAP_SECONDS, draw=_draw()))


_draw: Callable[[], float] = random.random


def passes(error: EdgeError) -> bool:
    """Whether it may be otherwise in a while. Central's own word about the token is final, and so is a broken one."""
    if isinstance(error, SpentError):
        return False
    return not isinstance(error, RefusedError) or error.reason not in ("BAD_REQUEST", "CONFLICT")


def _secret(config: Config, *, replace: bool) -> bytes:
    """What locks the key: of the unit that this is, or root's to open or make; empty where there is nothing to seal to.

    The credential is of the unit, whose state is in one place: an agent that somebody runs elsewhere has none.
    """
    state_dir = config.node.state_dir
    if os.geteuid() != 0 or state_dir != NodeConfig().state_dir:
        return lock.given(os.environ)
    if store.is_enrolled(state_dir) and not replace:
        return b""
    return lock.ensure()


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
