"""The board runs out of memory: tenants give way, the store's own work goes on."""

from collections.abc import Callable
from typing import Any

import pytest

from hil.board import until
from hil.central import Central
from hil.faults import AGENT, BROKER, LAUNCHER, job, pid
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


@pytest.mark.lg_feature("balloon")
@pytest.mark.timeout(1800)
# The kernel looks for pages for a while before it ends anybody: the watchdog may end an agent that waits for its own.
@pytest.mark.expects(
    "hungry.service", "edge-jobs.service", "system.slice", "edge.slice", "edge-tenants.slice", "edge-agent.service"
)
def test_tenants_give_way_when_memory_runs_out(
    board: Any,
    enrolled: Any,
    central: Central,
    qmp: Qmp,
    injected: Callable[[str], None],
    times: dict[str, float],
    record_property: Callable[[str, object], None],
) -> None:
    until(lambda: central.connected(NODE), "the node to be connected", 180)
    central.apply(NODE, DESIRED)
    until(lambda: "full" in _said(central), "the tenant's job to have its memory", 240)
    until(lambda: pid(enrolled, LAUNCHER) > 0, "the launcher to run")
    before = {unit: pid(enrolled, unit) for unit in (LAUNCHER, BROKER, "edge-jobs")}
    restarts, ended = _restarts(enrolled), _ended(central)
    whole = qmp.command("query-memory-size-summary")["base-memory"]
    enrolled.run_check(f'systemd-run --quiet --unit=hungry --on-active=5 python3 -c "{HUNGRY}"')
    board.leave()  # sshd waits for its pages as everybody does
    try:
        qmp.command("balloon", value=SQUEEZED_MIB * MIB)
        injected(f"balloon: {whole // MIB} MiB down to {SQUEEZED_MIB} MiB")
        injected("in 5 s a process of the store takes 50 MiB a second, without a limit")
        times["memory gone to tenant ended"] = until(lambda: _ended(central) > ended, "the tenant to give way", 400)
    finally:
        qmp.command("balloon", value=whole)
        injected("memory given back")
        board.arrive()
        board.ssh.run("systemctl stop hungry; systemctl reset-failed hungry")
    ssh = board.ssh
    until(lambda: ssh.run(f"systemctl is-active {AGENT}")[0] == ["active"], "the agent to be ready", 240)
    until(lambda: job(ssh, "glutton").get("state") == "JOB_STATE_RUNNING", "the tenant's job to run again", 240)
    record_property("ended by the kernel", ssh.run("journalctl -q -k -b -o cat -g 'Out of memory: Killed'")[0])
    record_property("agent ended by its watchdog", _restarts(ssh) - restarts)
    assert {unit: pid(ssh, unit) for unit in before} == before
    central.apply(NODE, DESIRED.partition("[[job]]")[0])


def _restarts(ssh: Any) -> int:
    return int(ssh.run_check(f"systemctl show -P NRestarts {AGENT}")[0])


def _said(central: Central) -> list[str]:
    if central.job(NODE, "glutton").get("state") != "JOB_STATE_RUNNING":
        return []
    return [line["text"] for line in central.ask("logs", NODE, "glutton")["lines"]]


def _ended(central: Central) -> int:
    """How often central has heard that the kernel ended the tenant's job."""
    events = central.ask("events", NODE, "--job", "glutton")["events"]
    return sum(event.get("reason") == "oom" or event.get("exit_code") == 137 for event in events)
