"""agent/cli/checks/broker.py."""

import socket

from agent.cli.checks import broker
from agent.cli.checks.finding import Box
from agent.clock import Clock
from agent.config.schema import Config, MqttConfig
from agent.errors import AwayError


def test_a_broker_listens_or_the_reason_is_said() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        box = Box(Config(mqtt=MqttConfig(port=listener.getsockname()[1])), Clock("b"), AwayError(""))
        found = broker.check(box)
        assert (found.level, "refused" in found.text, "mosquitto" in found.remedy) == ("fail", True, True)
        listener.listen()
        assert broker.check(box).level == "ok"


def test_no_bridge_needs_no_broker() -> None:
    assert broker.check(Box(Config(mqtt=MqttConfig(enabled=False, port=1)), Clock("b"), AwayError(""))).level == "ok"
