"""edge-agent: the daemon and what people on site ask of it."""

import argparse
import importlib
import sys
from pathlib import Path

from agent import __version__
from agent.deferred import defer_unused
from agent.errors import EdgeError

DEFAULT_CONFIG = Path("/etc/edge-agent/agent.toml")

# A verb is a file of agent/cli with HELP and `add(parser)`, which sets `handler`. Only the one that is asked for is
# imported: the daemon pays for no other.
VERBS = ("run", "enrol", "config", "status", "jobs", "logs", "devices", "spool")


def _parser(wanted: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-agent", description=__doc__)
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE")
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in (wanted,) if wanted else VERBS:
        module = importlib.import_module(f"agent.cli.{verb}")
        module.add(verbs.add_parser(verb, help=module.HELP))
    return parser


def main(argv: list[str] | None = None) -> int:
    defer_unused()  # before a verb imports what would load it all
    words = sys.argv[1:] if argv is None else argv
    wanted = next((word for word in words if word in VERBS), None)
    args = _parser(wanted).parse_args(words)
    try:
        code: int = args.handler(args)
    except EdgeError as error:
        print(f"edge-agent: {error}", file=sys.stderr)  # noqa: T201  the command line's own door
        return 1
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
