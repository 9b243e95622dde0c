"""The board runs out of memory: tenants give way, the store's own work goes on."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hil.board import until
from hil.central import Central
from hil.faults import AGENT, BROKER, LAUNCHER, heard, job, pid, publishing, whole
from hil.qmp import Qmp
from hil.suite.conftest import NODE

MIB = 1 << 20
SQUEEZED_MIB = 512
HUNGRY_MIB = 150
DESIRED = f"""
[store]
reserve = {{ cpu_milli = 100, memory = "128MiB", disk = "64MiB" }}

[[tenant]]
id = "citycloud"
quota = {{ jobs = 2, cpu_milli = 500, memory = "512MiB" }}

[[job]]
id = "glutton"
tenant = "citycloud"
kind = "service"
command = ["python3", "-c", "import signal; kept = b'x' * ({HUNGRY_MIB} << 20); print('full', flush=1); signal.pause()"]
cpu_milli = 300
memory = "{HUNGRY_MIB + 50}MiB"
restart = {{ mode = "always", backoff = "1s" }}
"""
# Of the store's own, without a limit: takes 5 MiB more every 100 ms until it is ended.
HUNGRY = "import time\nkept = []\nwhile True: kept.append(b'x' * (5 << 20)); time.sleep(0.1)"


@pytest.fixture
def squeezed(enrolled: Any, qmp: Qmp, injected: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Takes memory from the board, until the test ends."""
    before = qmp.command("query-memory-size-summary")["base-memory"]

    def squeeze() -> None:
        qmp.command("balloon", value=SQUEEZED_MIB * MIB)
        injected(f"balloon: {before // MIB} MiB down to {SQUEEZED_MIB} MiB")

    yield squeeze
    qmp.command("balloon", value=before)
    enrolled.run("systemctl stop hungry; systemctl reset-failed hungry")


@pytest.mark.lg_feature("balloon")
@pytest.mark.timeout(1200)
@pytest.mark.expects("hungry.service", "edge-jobs.service", "system.slice", "edge.slice", "edge-tenants.slice")
def test_tenants_give_way_when_memory_runs_out(
    enrolled: Any,
    central: Central,
    squeezed: Callable[[], None],
    injected: Callable[[str], None],
    record_property: Callable[[str, object], None],
) -> None:
    until(lambda: central.connected(NODE), "the node to be connected", 180)
    central.apply(NODE, DESIRED)
    until(lambda: "full" in _said(central), "the tenant's job to have its memory", 240)
    until(lambda: pid(enrolled, LAUNCHER) > 0, "the launcher to run")
    before = {unit: pid(enrolled, unit) for unit in (AGENT, LAUNCHER, BROKER, "edge-jobs")}
    with publishing(enrolled, central, NODE, ("fridge-m",), 4.0) as devices:
        squeezed()
        enrolled.run_check(f'systemd-run --quiet --unit=hungry python3 -c "{HUNGRY}"')
        injected("a process of the store takes 50 MiB a second, without a limit")
        until(lambda: _oom(central), "the tenant's job to give way", 240)
        until(
            lambda: enrolled.run("systemctl is-active hungry")[0] != ["active"], "the hungry process to be ended", 240
        )
        heard(central, NODE, devices)
    record_property("ended by the kernel", enrolled.run("journalctl -q -k --since=-5min -o cat -g 'Killed process'")[0])
    assert {unit: pid(enrolled, unit) for unit in before} == before
    whole(central, NODE, devices)
    until(lambda: job(enrolled, "glutton").get("state") == "JOB_STATE_RUNNING", "the tenant's job to run again", 240)
    central.apply(NODE, DESIRED.partition("[[job]]")[0])


def _said(central: Central) -> list[str]:
    if central.job(NODE, "glutton").get("state") != "JOB_STATE_RUNNING":
        return []
    return [line["text"] for line in central.ask("logs", NODE, "glutton")["lines"]]


def _oom(central: Central) -> bool:
    events = central.ask("events", NODE, "--job", "glutton")["events"]
    return any(event.get("reason") == "oom" or event.get("exit_code") == 137 for event in events)
