"""Agent, launcher and broker are killed in every order: tenants' jobs and devices don't notice."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from hil.board import until
from hil.central import Central
from hil.faults import AGENT, BROKER, LAUNCHER, back, heard, job, kill, publishing, start_of, whole
from hil.suite.conftest import NODE

NAMES = ("cart-k1", "cart-k2")
PARTS = (AGENT, LAUNCHER, BROKER)
# Each order a moment apart, then each pair at once, then all three.
ORDERS = [
    *((parts, 0.5) for parts in itertools.permutations(PARTS)),
    *((parts, 0.0) for parts in itertools.combinations(PARTS, 2)),
    (PARTS, 0.0),
]
DESIRED = """
[store]
reserve = { cpu_milli = 100, memory = "128MiB", disk = "64MiB" }

[[tenant]]
id = "citycloud"
quota = { jobs = 2, cpu_milli = 500, memory = "128MiB" }

[[job]]
id = "steady"
tenant = "citycloud"
kind = "service"
command = ["sleep", "infinity"]
cpu_milli = 100
memory = "32MiB"
restart = { mode = "always", backoff = "1s" }
"""


@pytest.fixture
def steady(enrolled: Any, central: Central) -> dict[str, Any]:
    """The job, as it runs now."""
    until(lambda: central.connected(NODE), "the node to be connected", 180)
    central.apply(NODE, DESIRED)
    until(lambda: job(enrolled, "steady").get("state") == "JOB_STATE_RUNNING", "the job to run", 180)
    return job(enrolled, "steady")


@pytest.mark.expects("edge-agent.service", "edge-launcher.service", "mosquitto.service")
@pytest.mark.timeout(2400)
def test_jobs_and_devices_outlive_agent_launcher_and_broker_in_every_order(
    enrolled: Any,
    central: Central,
    steady: dict[str, Any],
    injected: Callable[[str], None],
    record_property: Callable[[str, object], None],
) -> None:
    started = start_of(enrolled, steady["pid"])
    with publishing(enrolled, central, NODE, NAMES, 4.0) as devices:
        for parts, pause in ORDERS:
            killed = kill(enrolled, parts, pause)
            injected(f"SIGKILL {', '.join(parts)}, {pause:g} s apart")
            back(enrolled, killed)
            assert start_of(enrolled, steady["pid"]) == started
            heard(central, NODE, devices)
    until(lambda: central.connected(NODE), "the node to be connected")
    until(lambda: job(enrolled, "steady").get("state") == "JOB_STATE_RUNNING", "the agent to know the job again")
    after = job(enrolled, "steady")
    assert (after["pid"], after["attempt"]) == (steady["pid"], steady["attempt"])
    assert start_of(enrolled, steady["pid"]) == started
    assert enrolled.run_check("systemctl --failed --no-legend") == []
    counts = whole(central, NODE, devices)
    record_property("acknowledged", sum(len(device.acknowledged) for device in devices))
    record_property("delivered twice", sum(count - 1 for count in counts.values()))
    assert {what: count for what, count in counts.items() if count > 1} == {}
