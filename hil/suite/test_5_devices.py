"""Devices on the board's broker, and their messages at central."""

import time
from typing import Any

import pytest

from hil.board import until
from hil.central import Central
from hil.qmp import Qmp
from hil.suite.conftest import NODE


def payloads(central: Central, topic: str) -> list[str]:
    return [message["payload"] for message in central.messages(NODE) if message["topic"] == topic]


def test_what_a_device_publishes_arrives_once(enrolled: Any, central: Central) -> None:
    topic = "devices/fridge-1/temperature"
    enrolled.run_check(f"mosquitto_pub -V 5 -q 1 -t {topic} -m 4.2")
    until(lambda: payloads(central, topic) == ["4.2"], "the message at central")


@pytest.mark.lg_feature("link-fault")
def test_a_pulled_cable_loses_nothing(board: Any, enrolled: Any, central: Central, qmp: Qmp) -> None:
    topic = "devices/door-1/opened"
    publish = f"for i in $(seq 20); do mosquitto_pub -V 5 -q 1 -t {topic} -m $i; sleep 0.5; done"
    board.target.deactivate(enrolled)  # its connection goes through the same cable
    try:
        qmp.command("set_link", name="net0", up=False)
        board.shell.run_check(f"systemd-run --unit=publish --wait sh -c '{publish}'", timeout=120)
        time.sleep(2)
        assert payloads(central, topic) == []
    finally:
        qmp.command("set_link", name="net0", up=True)
        board.target.activate(enrolled)
    until(lambda: len(payloads(central, topic)) >= 20, "the messages at central", 180)
    assert payloads(central, topic) == [str(number) for number in range(1, 21)]
