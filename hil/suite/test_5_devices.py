"""Devices on the board's broker, each by its own proof of who it is, and their messages at central."""

import time
from typing import Any

import pytest

from hil.board import COMMAND_SECONDS, login, until
from hil.central import Central
from hil.qmp import Qmp
from hil.suite.conftest import NODE

CERTIFICATES = "/root/certificates"


def payloads(central: Central, topic: str) -> list[str]:
    return [message["payload"] for message in central.messages(NODE) if message["topic"] == topic]


@pytest.mark.core
def test_what_a_device_publishes_arrives_once(enrolled: Any, central: Central) -> None:
    topic = "devices/fridge-1/temperature"
    fridge = login("fridge-1", central.password(NODE, "fridge-1"))
    enrolled.run_check(f"mosquitto_pub {fridge} -t {topic} -m 4.2")
    until(lambda: payloads(central, topic) == ["4.2"], "the message at central")


def test_a_certificate_is_good_for_its_own_device_until_it_is_revoked(enrolled: Any, central: Central) -> None:
    topic = "devices/lock-1/bolt"
    enrolled.run_check(f"edge-agent device add lock-1 --key --out {CERTIFICATES}", timeout=COMMAND_SECONDS)
    files = f"--cert {CERTIFICATES}/lock-1.crt --key {CERTIFICATES}/lock-1.key --cafile {CERTIFICATES}/ca.crt"
    lock = f"-V 5 -q 1 -h localhost -p 8883 {files}"
    enrolled.run_check(f"systemd-run --quiet --unit=lock mosquitto_sub {lock} -t devices/lock-1/cmd/open")
    enrolled.run_check(f"mosquitto_pub {lock} -t {topic} -m shut")
    _, refused, _ = enrolled.run(f"mosquitto_pub {lock} -t devices/fridge-1/temperature -m 99")
    assert "Not authorized" in "".join(refused)
    until(lambda: payloads(central, topic) == ["shut"], "the message at central")

    central.revoke(NODE, "lock-1")
    until(lambda: enrolled.run("systemctl is-active --quiet lock")[2] != 0, "the revoked device to be thrown out", 30)
    reloads = "journalctl -q --since=-1min -u edge-broker-reload -o cat"
    until(lambda: any("Finished" in line for line in enrolled.run_check(reloads)), "the broker to know", 30)
    assert enrolled.run(f"timeout 20 mosquitto_pub {lock} -t {topic} -m stolen")[2] != 0
    assert payloads(central, topic) == ["shut"]
    assert "99" not in payloads(central, "devices/fridge-1/temperature")


@pytest.mark.lg_feature("link-fault")
def test_a_pulled_cable_loses_nothing(board: Any, enrolled: Any, central: Central, qmp: Qmp) -> None:
    topic = "devices/door-1/opened"
    counts = "for i in $(seq 20); do echo $i; sleep 0.5; done"
    publish = f"{counts} | mosquitto_pub {login('door-1', central.password(NODE, 'door-1'))} -l -t {topic}"
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
