"""edge-agent: the daemon, or a verb that somebody typed."""

import importlib
import sys

from agent.deferred import defer_unused

DEFAULT_CONFIG = "/etc/edge-agent/agent.toml"


def main(argv: list[str] | None = None) -> int:
    defer_unused()  # before anything imports what would load it all; pathlib does
    words = sys.argv[1:] if argv is None else argv
    match words:
        # As systemd starts it: without argparse, 0.3 MB for which the daemon has no use (docs/decisions/0015).
        case ["run"]:
            code: int = importlib.import_module("agent.cli.run").run(DEFAULT_CONFIG)
        case ["--config", file, "run"]:
            code = importlib.import_module("agent.cli.run").run(file)
        case _:
            code = importlib.import_module("agent.cli.verbs").main(words, DEFAULT_CONFIG)
    return code


if __name__ == "__main__":
    sys.exit(main())
