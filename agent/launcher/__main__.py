"""edge-launcher: the privileged process. Starts, finds again and ends sandboxed runs for one unprivileged user."""

import importlib
import sys

from agent.deferred import defer, defer_common


def _unsigned(_: type) -> str:
    return ""


def main() -> int:
    """The exit code, as command_line.main has it. What is deferred is a fifth of the process (docs/decisions/0015)."""
    # dataclasses, for the docstrings of classes that have none, which nobody reads here; brings ast and dis.
    defer("inspect", {"signature": _unsigned})
    defer_common()
    code: int = importlib.import_module("agent.launcher.command_line").main()
    return code


if __name__ == "__main__":
    sys.exit(main())
