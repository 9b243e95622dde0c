"""Refused enrolments, kept until there is a spool to audit them: the command line has none."""

import json
import logging
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from agent.clock import Clock
from agent.fsio import write_atomic
from agent.model import AuditEntry

_log = logging.getLogger(__name__)
_MOST = 100  # the newest; a box that is tried more often than this has said enough


def add_refusal(state_dir: Path, entry: AuditEntry, clock: Clock) -> None:
    """Log it and keep it, with the time in its detail. A disk that fails takes nothing from the refusal itself."""
    when = datetime.fromtimestamp(clock.wall_nano() // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = replace(entry, detail=f"{when}: {entry.detail}")
    _log.warning("audit", extra=asdict(entry))
    file = _file(state_dir)
    lines = [*_lines(file), json.dumps(asdict(entry))][-_MOST:]
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(file, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        _log.warning("refusal not kept for the audit trail: %s", error)


def take_refusals(state_dir: Path) -> tuple[AuditEntry, ...]:
    """Oldest first. They stay until `forget_refusals`: first the spool has them, then they go."""
    entries: list[AuditEntry] = []
    for line in _lines(_file(state_dir)):
        try:
            entries.append(AuditEntry(**json.loads(line)))
        except (ValueError, TypeError):
            _log.warning("a line of %s is broken, left out", _file(state_dir))
    return tuple(entries)


def forget_refusals(state_dir: Path) -> None:
    """What `take_refusals` gave is durable elsewhere."""
    _file(state_dir).unlink(missing_ok=True)


def _file(state_dir: Path) -> Path:
    return state_dir / "identity" / "refusals.jsonl"


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []
