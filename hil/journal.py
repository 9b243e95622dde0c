"""What a board's journal says went wrong, whether or not a test noticed."""

import json
from collections.abc import Iterable
from typing import Any

# systemd's sd-messages.h: the journal's own words for what no test may overlook.
_FAULTS = {
    "fc2e22bc6ee647b6b90729ab34a250b1": "core dump",
    "d9b373ed55a64feb8242e02dbe79a49c": "unit failed",
    "5eb03494b6584870a536b337290809b3": "unit restarted by systemd",
    "fe6faa94e7774663a0da52717891d8ef": "out of memory",
}
_CRITICAL = 2  # syslog(3) LOG_CRIT: of the kernel, an oops or worse
_TRACEBACK = "Traceback (most recent call last)"


def parse(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Entries of `journalctl -o json`."""
    return [json.loads(line) for line in lines if line.startswith("{")]


def text(entry: dict[str, Any]) -> str:
    """MESSAGE, which is a list of bytes when it isn't UTF-8."""
    message = entry.get("MESSAGE") or ""
    return bytes(message).decode(errors="replace") if isinstance(message, list) else str(message)


def line(entry: dict[str, Any]) -> str:
    seconds = int(entry.get("__REALTIME_TIMESTAMP", 0)) / 1e6
    source = entry.get("_SYSTEMD_UNIT") or entry.get("SYSLOG_IDENTIFIER") or entry.get("_TRANSPORT", "")
    return f"{seconds:.3f} {source}: {text(entry)}"


def faults(entries: Iterable[dict[str, Any]], expected_units: Iterable[str] = ()) -> list[str]:
    """A line for each fault; what happened to an expected unit is none."""
    expected = set(expected_units)
    return [f"{what}: {line(entry)}" for entry in entries if (what := _fault(entry)) and _unit(entry) not in expected]


def _unit(entry: dict[str, Any]) -> str:
    """Whom an entry is about: a core dump and systemd's own words are about another unit than the one that says it."""
    return str(entry.get("COREDUMP_UNIT") or entry.get("UNIT") or entry.get("_SYSTEMD_UNIT") or "")


def _fault(entry: dict[str, Any]) -> str:
    what = _FAULTS.get(entry.get("MESSAGE_ID", ""), "")
    if entry.get("_TRANSPORT") == "kernel" and int(entry.get("PRIORITY", 6)) <= _CRITICAL:
        what = what or "kernel"
    if str(entry.get("_SYSTEMD_UNIT", "")).startswith("edge-") and _TRACEBACK in text(entry):
        what = what or "traceback"
    return what
