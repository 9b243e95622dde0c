"""agent/cli/checks/broker.py."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.checks import broker
from agent.cli.checks.finding import Box
from agent.clock import Clock
from agent.config.schema import Config, MqttConfig
from agent.errors import AwayError


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one


def box(listener: socket.socket, broker_dir: Path) -> Box:
    mqtt = MqttConfig(port=listener.getsockname()[1], broker_dir=broker_dir)
    return Box(Config(mqtt=mqtt), Clock("b"), AwayError(""))


def certificates(broker_dir: Path) -> None:
    for name in ("ca.crt", "server.crt", "server.key", "revoked.crl"):
        (broker_dir / name).touch()


def test_a_broker_listens_or_the_reason_is_said(listener: socket.socket, tmp_path: Path) -> None:
    certificates(tmp_path)
    found = broker.check(box(listener, tmp_path))
    assert (found.level, "refused" in found.text, "mosquitto" in found.remedy) == ("fail", True, True)
    listener.listen()
    assert broker.check(box(listener, tmp_path)).level == "ok"


def test_certificates_that_are_missing_are_named_whether_it_listens_or_not(
    listener: socket.socket, tmp_path: Path
) -> None:
    certificates(tmp_path)
    (tmp_path / "revoked.crl").unlink()
    assert broker.check(box(listener, tmp_path)).text.endswith(f"; {tmp_path} lacks revoked.crl")
    listener.listen()
    found = broker.check(box(listener, tmp_path))
    assert (found.level, found.text) == ("fail", f"{tmp_path} lacks revoked.crl")
    assert "edge-agent broker prepare" in found.remedy


def test_no_bridge_needs_no_broker() -> None:
    assert broker.check(Box(Config(mqtt=MqttConfig(enabled=False, port=1)), Clock("b"), AwayError(""))).level == "ok"
