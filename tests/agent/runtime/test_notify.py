"""agent/runtime/notify.py."""

import logging
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.runtime.notify import Notifier


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_each_message_is_what_systemd_expects(systemd: socket.socket) -> None:
    notifier = Notifier.from_environ({"NOTIFY_SOCKET": systemd.getsockname()})
    notifier.ready("running")
    notifier.reloading(17)
    notifier.alive()
    notifier.status("two\nlines")
    notifier.stopping("bye")
    assert [systemd.recv(4096) for _ in range(5)] == [
        b"READY=1\nSTATUS=running",
        b"RELOADING=1\nMONOTONIC_USEC=17",
        b"WATCHDOG=1",
        b"STATUS=two lines",
        b"STOPPING=1\nSTATUS=bye",
    ]


def test_an_at_sign_means_the_abstract_namespace() -> None:
    name = f"edge-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        sock.settimeout(5)
        Notifier(f"@{name}").alive()
        assert sock.recv(64) == b"WATCHDOG=1"


def test_nobody_is_told_where_nobody_asked() -> None:
    Notifier.from_environ({}).ready("running")


def test_a_deaf_systemd_is_logged_and_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Notifier(str(tmp_path / "nobody")).ready("running")
    assert "systemd can't be notified" in caplog.text
