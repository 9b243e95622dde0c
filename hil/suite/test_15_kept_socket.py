"""systemd keeps the agent's connection to the broker: what devices were promised outlives a kill of both."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from hil.central import Central
from hil.faults import AGENT, BROKER, back, go_on, heard, kill, pid, publishing, whole
from hil.suite.conftest import NODE

ROUNDS = int(os.environ.get("LG_HIL_ROUNDS", "2"))
NAMES = ("pump-1", "pump-2", "pump-3")
ALONE = ("pump-4",)
PER_SECOND = 8.0
KEPT = "NFileDescriptorStore"
TOWARDS = "ss -Htne state established dport = :1883"


@pytest.mark.expects("edge-agent.service", "mosquitto.service")
@pytest.mark.timeout(3600)
def test_nothing_acknowledged_is_missing_after_agent_and_broker_were_killed(
    enrolled: Any,
    central: Central,
    injected: Callable[[str], None],
    record_property: Callable[[str, object], None],
) -> None:
    orders = ((AGENT, BROKER, 0.3), (BROKER, AGENT, 0.3), (AGENT, BROKER, 0.0))
    with publishing(enrolled, central, NODE, NAMES, PER_SECOND) as devices:
        for number in range(ROUNDS):
            for first, second, pause in orders:
                heard(central, NODE, devices)  # a broker that nobody listens to forgets what it is killed with
                assert int(enrolled.run_check(f"systemctl show -P {KEPT} {AGENT}")[0]) >= 1
                killed = kill(enrolled, (first, second), pause)
                injected(f"round {number + 1}: SIGKILL {first}, {second} {pause:g} s later")
                back(enrolled, killed)
        heard(central, NODE, devices)
    counts = whole(central, NODE, devices)
    record_property("acknowledged", sum(len(device.acknowledged) for device in devices))
    record_property("delivered twice", sum(count - 1 for count in counts.values()))
    assert {what: count for what, count in counts.items() if count > 1} == {}


@pytest.mark.expects("edge-agent.service")
def test_an_agent_that_was_killed_goes_on_in_the_same_connection(
    enrolled: Any, central: Central, injected: Callable[[str], None]
) -> None:
    with publishing(enrolled, central, NODE, ALONE, PER_SECOND) as devices:
        broker, before = pid(enrolled, BROKER), _sockets(enrolled)
        killed = kill(enrolled, (AGENT,))
        injected("SIGKILL edge-agent")
        back(enrolled, killed)
        go_on(devices, 10)
        assert before & _sockets(enrolled), "no connection of the agent that was killed is left"
        assert pid(enrolled, BROKER) == broker
    counts = whole(central, NODE, devices)
    assert {what: count for what, count in counts.items() if count > 1} == {}


def _sockets(ssh: Any) -> set[str]:
    """The agent's ends of connections to the broker: port and inode."""
    uid = ssh.run_check("id -u edge-agent")[0]
    lines = [line.split() for line in ssh.run_check(TOWARDS)]
    return {f"{line[2]} {word}" for line in lines if f"uid:{uid}" in line for word in line if word.startswith("ino:")}
