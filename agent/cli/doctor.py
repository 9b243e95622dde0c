"""edge-agent doctor: what is wrong with this box, and what to do about it. Works when the agent is down."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterable

from agent.cli.checks import CHECKS
from agent.cli.checks.finding import Box, Finding
from agent.cli.enrol import become_owner
from agent.clock import system_clock
from agent.config.load import load
from agent.config.schema import Config
from agent.errors import ConfigError, EdgeError
from agent.identity import lock
from agent.sandbox import HostFacts, Sandbox

HELP = "what is wrong with this box, and what to do about it"

_LAUNCHER_SECONDS = 5.0


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """1 when a check fails; a warning alone is 0."""
    try:
        config = load(args.config)
    except ConfigError as error:
        found = [("configuration", Finding("fail", str(error), f"mend it: edge-agent config check {args.config}"))]
    else:
        found = [("configuration", Finding("ok", str(args.config))), *examine(_box(config))]
    if args.json:
        json.dump({"checks": [_plain(name, finding) for name, finding in found]}, sys.stdout, indent=2)
        print()
    else:
        for line in lines(found):
            print(line)
    return int(any(finding.level == "fail" for _, finding in found))


def examine(box: Box) -> list[tuple[str, Finding]]:
    return [(check.NAME, check.check(box)) for check in CHECKS]


def lines(found: Iterable[tuple[str, Finding]]) -> list[str]:
    return [
        f"{finding.level:4}  {name:17}  {finding.text}{finding.remedy and f' -> {finding.remedy}'}"
        for name, finding in found
    ]


def _box(config: Config) -> Box:
    """As the agent's user sees it: the launcher answers nobody else. Only the TPM is asked as root."""
    opens = bool(lock.opened()) if os.geteuid() == 0 and lock.FILE.exists() else None
    if config.node.state_dir.exists():
        become_owner(config.node.state_dir)
    return Box(config, system_clock(), asyncio.run(_launcher(config)), environment=dict(os.environ), lock_opens=opens)


async def _launcher(config: Config) -> HostFacts | EdgeError:
    try:
        return await Sandbox(config.jobs.launcher_socket, answer_seconds=_LAUNCHER_SECONDS).hello()
    except EdgeError as error:
        return error


def _plain(name: str, finding: Finding) -> dict[str, str]:
    return {"check": name, "level": finding.level, "text": finding.text, "remedy": finding.remedy}
