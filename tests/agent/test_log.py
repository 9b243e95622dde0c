"""agent/log.py."""

import io
import logging
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import log


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers, logger.level = handlers, level


def test_a_value_with_a_line_end_takes_the_binary_form() -> None:
    assert log.encode_journal({"A": "1", "B": "x\ny"}) == b"A=1\nB\n" + struct.pack("<Q", 3) + b"x\ny\n"


def test_a_value_can_not_smuggle_in_a_field() -> None:
    data = log.encode_journal({"MESSAGE": "hello\nPRIORITY=0"})
    assert data.startswith(b"MESSAGE\n")


def test_on_a_terminal_a_line_ends_with_its_fields(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")  # inherited from a service whose stderr isn't ours
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    log.configure("INFO")
    logging.getLogger("agent.x").info("started", extra={"job": "j1", "pid": 7})
    logging.getLogger("agent.x").debug("too fine")
    assert out.getvalue().endswith("INFO    agent.x: started job=j1 pid=7\n")
    assert "too fine" not in out.getvalue()


def test_under_systemd_fields_and_priority_reach_the_journal(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        journal.settimeout(5)
        monkeypatch.setattr(log, "_JOURNAL", tmp_path / "journal")
        status = os.fstat(2)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        log.configure("INFO")
        logging.getLogger("agent.x").error("broken", extra={"job": "j1"})
        assert journal.recv(4096) == b"MESSAGE=broken\nPRIORITY=3\nLOGGER=agent.x\nEDGE_JOB=j1\n"
