"""A board that nothing reaches but the suite's ssh: what devices say waits on it, on real boards as on virtual ones."""

from typing import Any

import pytest

from hil.board import login, until
from hil.central import Central
from hil.strategy import Status
from hil.suite.conftest import NODE
from hil.suite.test_5_devices import payloads

TOPIC = "devices/gate-1/opened"
COUNT = 30


@pytest.fixture
def gate(enrolled: Any, central: Central) -> str:  # noqa: ARG001
    """How a device publishes; asked for before the line is dead."""
    return login("gate-1", central.password(NODE, "gate-1"))


@pytest.mark.core
def test_what_devices_say_to_an_isolated_board_is_at_central_once_it_is_back(
    board: Any, gate: str, isolated: Any, central: Central
) -> None:
    away = f"timeout 5 bash -c 'exec 3<>/dev/tcp/{central.address}/{central.enrol_port}'"
    assert isolated.run(away)[2] != 0
    isolated.run_check(f"seq {COUNT} | mosquitto_pub {gate} -l -t {TOPIC}", timeout=60)
    assert payloads(central, TOPIC) == []
    board.transition(Status.ENROLLED)
    until(lambda: len(payloads(central, TOPIC)) >= COUNT, "what was said meanwhile, at central", 180)
    assert payloads(central, TOPIC) == [str(number) for number in range(1, COUNT + 1)]
