"""edgectl: finds the verb and answers with an exit code: 0 ok, 1 refused or failed, 2 wrong usage."""

import argparse
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from central.cli.errors import CliError

# Verb -> what it does. central.cli.<verb> has add(parser) and run(arguments) -> exit code.
VERBS = {
    "init": "make a certificate authority and the first operator",
    "serve": "run central",
    "token": "create: let one box become a node",
    "nodes": "the fleet",
    "node": "show S/N: one node, as it sees itself",
    "apply": "say what nodes shall run, from a file",
    "jobs": "jobs, as central knows them",
    "job": "stop S/N JOB: end the current run",
    "events": "what happened on a node, each change of a job with its reason",
    "logs": "a job's output, from its node",
    "image": "push S/N FILE: an image archive into a node",
    "images": "images on a node",
    "devices": "devices of a node",
    "device": "add, revoke, import: identities; send, commands, cancel: commands",
    "messages": "what devices have sent",
    "telemetry": "newest values of a node's hardware",
    "usage": "the tenants' bill",
    "audit": "who did what, and who was refused",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _top() -> _Parser:
    lines = "\n".join(f"  {verb:<10} {what}" for verb, what in VERBS.items())
    parser = _Parser(
        "edgectl",
        description="Operate the store edge: ask and tell central.",
        epilog=f"verbs (edgectl VERB --help):\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dir", type=Path, default=Path(), help="where init put operator/ (default: here)")
    parser.add_argument("--central", default="", metavar="HOST:PORT", help="default: as remembered in --dir")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("verb", choices=VERBS, metavar="VERB")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...")
    return parser


def _parse(argv: list[str]) -> tuple[argparse.Namespace, ModuleType]:
    """The verb's arguments and its module. --dir, --central and --json count on both sides of the verb."""
    top = _top().parse_args(argv)
    module = importlib.import_module(f"central.cli.{top.verb}")
    parser = _Parser(f"edgectl {top.verb}", description=VERBS[top.verb])
    parser.add_argument("--dir", type=Path, default=top.dir, help=argparse.SUPPRESS)
    parser.add_argument("--central", default=top.central, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", default=top.json, help="one JSON document on stdout")
    module.add(parser)
    return parser.parse_args(top.rest), module


def main() -> int:
    arguments, module = _parse(sys.argv[1:])
    try:
        return int(module.run(arguments))
    except CliError as error:
        sys.stderr.write(f"edgectl: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader left (head, less): nothing to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
