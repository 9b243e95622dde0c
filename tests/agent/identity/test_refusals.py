"""agent/identity/refusals.py."""

import logging
from pathlib import Path

import pytest

from agent.clock import Clock
from agent.identity.refusals import add_refusal, forget_refusals, take_refusals
from agent.model import AuditEntry

CLOCK = Clock("b", wall_nano=lambda: 1_767_225_600 * 10**9)
ENTRY = AuditEntry("local:uid=0", "enrol", "central:8444", "PERMISSION_DENIED", "TOKEN_USED")


def test_refusals_wait_for_the_spool_with_their_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert take_refusals(tmp_path) == ()
    with caplog.at_level(logging.WARNING):
        add_refusal(tmp_path, ENTRY, CLOCK)
    (kept,) = take_refusals(tmp_path)
    assert kept.detail == "2026-01-01T00:00:00Z: TOKEN_USED"
    assert (kept.actor, kept.action, kept.target, kept.outcome) == (
        "local:uid=0",
        "enrol",
        "central:8444",
        "PERMISSION_DENIED",
    )
    assert caplog.records[0].actor == "local:uid=0"  # type: ignore[attr-defined] # from `extra`
    assert take_refusals(tmp_path) == (kept,), "they stay until they are durable elsewhere"
    forget_refusals(tmp_path)
    assert take_refusals(tmp_path) == ()
    forget_refusals(tmp_path)


def test_the_file_does_not_grow_without_end(tmp_path: Path) -> None:
    for n in range(103):
        add_refusal(tmp_path, AuditEntry("a", "enrol", str(n), "X"), CLOCK)
    kept = take_refusals(tmp_path)
    assert [entry.target for entry in kept] == [str(n) for n in range(3, 103)]


def test_a_broken_line_costs_only_itself(tmp_path: Path) -> None:
    add_refusal(tmp_path, ENTRY, CLOCK)
    with (tmp_path / "identity/refusals.jsonl").open("a") as file:
        file.write('{"actor": "x"}\nhalf a li')
    assert len(take_refusals(tmp_path)) == 1


def test_a_disk_that_fails_takes_nothing_from_the_refusal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add_refusal(tmp_path / "missing", ENTRY, CLOCK)
    assert "not kept for the audit trail" in caplog.text
