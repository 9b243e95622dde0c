"""The verbs of edge-agent that people type, by argparse."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from agent import __version__
from agent.errors import EdgeError

# A verb is a file of agent/cli with HELP and `add(parser)`, which sets `handler`. Only the one that is asked for is
# imported.
VERBS = (
    "enrol", "config", "rules", "doctor", "status", "jobs", "logs", "devices", "device", "spool", "broker", "gateway",
)  # fmt: skip


def main(words: Sequence[str], default_config: str) -> int:
    """The exit code: 0 done, 1 refused or failed with one line on stderr, 2 usage, 130 interrupted."""
    args = _parser(words, default_config).parse_args(words)
    try:
        code: int = args.handler(args)
    except EdgeError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `| head` has seen enough. Nothing more may be written, also not by the interpreter at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _daemon(args: argparse.Namespace) -> int:
    # By its name, so that no other verb waits for the daemon's imports: 0.5 s, and 25 MB for the gateway.
    code: int = importlib.import_module("agent.cli.run").run(args.config)
    return code


def _parser(words: Sequence[str], default_config: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-agent", description="the store's agent, and what people on site ask it")
    parser.add_argument("--config", type=Path, default=default_config, metavar="FILE")
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    daemon = verbs.add_parser("run", help="run the agent; systemd does this")
    daemon.set_defaults(handler=_daemon)
    wanted = next((word for word in words if word in VERBS), None)
    for verb in (wanted,) if wanted else VERBS:
        module = importlib.import_module(f"agent.cli.{verb}")
        module.add(verbs.add_parser(verb, help=module.HELP))
    return parser
