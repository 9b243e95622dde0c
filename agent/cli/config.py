"""edge-agent config: what is wrong with a configuration file, before a restart finds out."""

import argparse
import sys
from pathlib import Path

from agent.config.load import load
from agent.errors import ConfigError

HELP = "look at a configuration file"


def add(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="config_verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="name every mistake in a file, one line each")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(handler=run_check)


def run_check(args: argparse.Namespace) -> int:
    try:
        load(args.file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{args.file}: ok")
    return 0
