"""A sensor gets hot: the work that may be stopped is stopped, and comes back once it is cool."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.board import COMMAND_SECONDS, until
from hil.central import Central
from hil.faults import AGENT, job
from hil.suite.conftest import NODE

_SENSOR = Path(__file__).parent.parent / "stub_sensor.py"
CONFIG = "/etc/edge-agent/agent.toml"
_STORE = """
[store]
reserve = { cpu_milli = 100, memory = "128MiB", disk = "64MiB" }

[[tenant]]
id = "citycloud"
quota = { jobs = 3, cpu_milli = 500, memory = "128MiB" }
"""


def _service(name: str, priority: str) -> str:
    return f"""
[[job]]
id = "{name}"
tenant = "citycloud"
kind = "service"
command = ["sleep", "infinity"]
cpu_milli = 100
memory = "32MiB"
priority = "{priority}"
restart = {{ mode = "always", backoff = "1s" }}
"""


DESIRED = _STORE + _service("spare", "spot") + _service("promised", "guaranteed")
LATE = _service("late", "guaranteed")


@pytest.fixture
def sensor(enrolled: Any) -> Iterator[Callable[[float], None]]:
    """Sets the board's thermometer; the agent looks each second, and 70 degrees are its limit."""
    enrolled.put(str(_SENSOR), "/root/stub_sensor.py")

    def reads(celsius: float) -> None:
        enrolled.run_check(f"python3 /root/stub_sensor.py {celsius}")

    if enrolled.run("modprobe -n i2c-stub")[2] != 0:
        pytest.skip("this board's kernel has no i2c-stub")
    reads(25)
    edits = (
        "/^.telemetry./,/^.heat./ s/^#interval_seconds = .*/interval_seconds = 1.0/;"
        "s/^#limit_celsius = .*/limit_celsius = 70.0/; s/^#cool_celsius = .*/cool_celsius = 60.0/;"
        's/^#hold_seconds = .*/hold_seconds = 3.0/; s/^#sensors = .*/sensors = ["lm75\\/1"]/'
    )
    enrolled.run_check(f"cp -p {CONFIG} /root/agent.toml.before && sed -i '{edits}' {CONFIG}")
    enrolled.run_check(f"edge-agent config check {CONFIG}", timeout=COMMAND_SECONDS)
    enrolled.run_check(f"systemctl restart {AGENT}", timeout=180)
    yield reads
    reads(25)
    enrolled.run_check(f"cp -p /root/agent.toml.before {CONFIG} && systemctl restart {AGENT}", timeout=180)


def test_a_hot_sensor_stops_spot_jobs_until_it_is_cool(
    enrolled: Any,
    central: Central,
    sensor: Callable[[float], None],
    injected: Callable[[str], None],
    times: dict[str, float],
) -> None:
    until(lambda: central.connected(NODE), "the node to be connected", 180)
    known = len(kinds(central))
    central.apply(NODE, DESIRED)
    until(lambda: states(enrolled, "spare", "promised") == ["RUNNING", "RUNNING"], "the jobs to run", 180)
    promised = job(enrolled, "promised")["pid"]

    sensor(65)
    injected("sensor at 65 degrees: below the limit")
    sensor(95)
    injected("sensor at 95 degrees: above it")
    times["hot to spot job stopped"] = until(
        lambda: central.job(NODE, "spare").get("reason") == "too-hot", "the spot job to be stopped", 120
    )
    assert "lm75/1 at 95 degrees" in "\n".join(enrolled.run_check("edge-agent status", timeout=COMMAND_SECONDS))
    central.apply(NODE, DESIRED + LATE)
    until(lambda: job(enrolled, "late").get("reason") == "too-hot", "new work to be refused")
    assert states(enrolled, "spare", "promised", "late") == ["REJECTED", "RUNNING", "REJECTED"]

    sensor(65)
    injected("sensor at 65 degrees: between the lines")
    assert states(enrolled, "spare", "promised", "late") == ["REJECTED", "RUNNING", "REJECTED"]
    sensor(30)
    injected("sensor at 30 degrees")
    until(lambda: states(enrolled, "spare", "late") == ["RUNNING", "RUNNING"], "the jobs to come back", 120)
    assert job(enrolled, "promised")["pid"] == promised
    assert "condition" not in "\n".join(enrolled.run_check("edge-agent status", timeout=COMMAND_SECONDS))
    until(lambda: kinds(central)[known:] == ["node.hot", "node.cool"], "both to be at central")
    central.apply(NODE, DESIRED.partition("[[job]]")[0])


def states(ssh: Any, *names: str) -> list[str]:
    return [str(job(ssh, name).get("state", "")).removeprefix("JOB_STATE_") for name in names]


def kinds(central: Central) -> list[str]:
    """What central has heard of heat, oldest first."""
    return [e["kind"] for e in central.ask("events", NODE)["events"] if e["kind"] in ("node.hot", "node.cool")]
