"""agent/runtime/watchdog.py."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.clock import Clock
from agent.runtime.heartbeat import Heartbeats
from agent.runtime.notify import Notifier
from agent.runtime.watchdog import STALE_SECONDS, Watchdog, interval_seconds


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def heard(sock: socket.socket) -> list[str]:
    messages: list[str] = []
    while True:
        try:
            messages.append(sock.recv(4096).decode())
        except BlockingIOError:
            return messages


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 10.0),
        ({"WATCHDOG_USEC": "0"}, 10.0),
        ({"WATCHDOG_USEC": "soon"}, 10.0),
        ({}, 10.0),
    ],
)
def test_pings_come_twice_as_often_as_systemd_asks(environ: dict[str, str], seconds: float) -> None:
    assert interval_seconds(environ, 7) == seconds


def test_one_silent_service_stops_the_pings_and_is_named_once(
    systemd: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0]
    heartbeats = Heartbeats(Clock("boot", boottime_nano=lambda: now[0]), ["link", "mqtt"])
    watchdog = Watchdog(Notifier(systemd.getsockname()), heartbeats)
    watchdog.look()
    assert heard(systemd) == ["WATCHDOG=1"]

    now[0] = int((STALE_SECONDS + 1) * 1e9)
    heartbeats.beater("link")()
    with caplog.at_level(logging.INFO):
        watchdog.look()
        watchdog.look()
    assert heard(systemd) == ["STATUS=no sign of life from: mqtt"]
    assert [record.service for record in caplog.records if record.levelno == logging.ERROR] == ["mqtt"]  # type: ignore[attr-defined] # from `extra`

    heartbeats.beater("mqtt")()
    watchdog.look()
    assert heard(systemd) == ["WATCHDOG=1", "STATUS=running"]
