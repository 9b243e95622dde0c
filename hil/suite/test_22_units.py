"""The unit files that tests/test_systemd.py scores are those that run here, with a job under them; reload and stop."""

import hashlib
import re
import time
from pathlib import Path
from typing import Any

import pytest

from hil.board import COMMAND_SECONDS, until
from hil.central import Central
from hil.suite.conftest import NODE, REPORT
from hil.suite.test_4_jobs import DESIRED, on_site

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNITS = "/usr/lib/systemd/system"
CONFIG = "/etc/edge-agent/agent.toml"
# What the project promises (docs/decisions/0085); tests/test_systemd.py holds each to less.
MOST = {"edge-agent.service": 1.5, "edge-launcher.service": 6.0, "edge-jobs.service": 1.5}


@pytest.fixture
def keeper(enrolled: Any, central: Central) -> dict[str, Any]:
    """A job that runs."""
    central.apply(NODE, DESIRED)
    until(lambda: central.job(NODE, "keeper").get("state") == "JOB_STATE_RUNNING", "the service to run", 240)
    return on_site(enrolled, "keeper")


@pytest.mark.core
@pytest.mark.timeout(600)
def test_a_job_runs_under_the_very_units_that_are_scored(
    enrolled: Any, keeper: dict[str, Any], times: dict[str, float]
) -> None:
    placed = [*MOST, "edge-launcher.socket", "edge-tenants.slice", "edge.slice"]
    for unit in placed:
        told = enrolled.run_check(f"sha256sum {UNITS}/{unit}")[0].split()[0]
        assert told == hashlib.sha256((SYSTEMD / unit).read_bytes()).hexdigest(), unit
        said = enrolled.run_check(f"systemctl show -p FragmentPath -p NeedDaemonReload -p ActiveState {unit}")
        shown = {line.partition("=")[0]: line.partition("=")[2] for line in said}
        assert shown == {"FragmentPath": f"{UNITS}/{unit}", "NeedDaemonReload": "no", "ActiveState": "active"}
    out, err, code = enrolled.run(f"systemd-analyze verify --man=no {' '.join(placed)}", timeout=COMMAND_SECONDS)
    assert (out, err, code) == ([], [], 0)
    for unit, most in MOST.items():
        verdict = enrolled.run_check(f"systemd-analyze security --no-pager {unit}", timeout=COMMAND_SECONDS)[-1]
        found = re.search(r"exposure level for \S+: ([0-9.]+)", verdict)
        assert found is not None, verdict
        times[f"exposure of {unit}, of 10"] = float(found[1])
        assert float(found[1]) <= most, verdict
    # And the job is where these units put it.
    group = enrolled.run_check(f"cat /proc/{keeper['pid']}/cgroup")[0]
    assert group.startswith("0::/edge.slice/edge-tenants.slice/edge-jobs.service/run-")
    root = "/sys/fs/cgroup/edge.slice"
    total = int(enrolled.run_check("sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")[0]) * 1024
    weight, high, most_bytes = enrolled.run_check(
        f"cat {root}/cpu.weight {root}/edge-tenants.slice/memory.high {root}/edge-tenants.slice/memory.max"
    )
    assert weight == "25"
    assert 0.8 * total < int(high) < int(most_bytes) < 0.95 * total
    assert enrolled.run_check("cat /sys/fs/cgroup/system.slice/cpu.weight") == ["100"]


def test_what_the_boot_waits_for_is_noted(enrolled: Any, times: dict[str, float]) -> None:
    chain = enrolled.run("systemd-analyze critical-chain --no-pager edge-agent.service", timeout=COMMAND_SECONDS)[0]
    (REPORT / "critical-chain.txt").write_text("\n".join(chain))
    for line in enrolled.run("systemd-analyze blame --no-pager", timeout=COMMAND_SECONDS)[0]:
        took, _, unit = line.strip().rpartition(" ")
        if unit.startswith("edge-") or unit == "mosquitto.service":
            times[f"blame: {unit}"] = seconds(took)


def seconds(took: str) -> float:
    """Of "1min 2.3s" or "45ms"."""
    scale = {"min": 60.0, "s": 1.0, "ms": 0.001}
    return sum(float(number) * scale[unit] for number, unit in re.findall(r"([0-9.]+)(min|ms|s)", took))


@pytest.mark.timeout(600)
def test_a_stop_with_a_backlog_is_clean_within_ten_seconds_and_leaves_jobs_running(
    enrolled: Any, keeper: dict[str, Any], central: Central, times: dict[str, float]
) -> None:
    account = central.password(NODE, "loud-1")
    central.stop()
    try:
        publish = f"seq 20000 | mosquitto_pub -p 1883 -u loud-1 -P {account} -V 5 -q 1 -t devices/loud-1/n -l"
        enrolled.run_check(f"systemd-run --quiet --collect --unit=loud sh -c '{publish}'")
        until(lambda: enrolled.run("systemctl is-active loud")[0] == ["active"], "a flood")
        time.sleep(5)  # into it
        started = time.monotonic()
        enrolled.run_check("systemctl stop edge-agent", timeout=60)
        times["stop with a backlog"] = time.monotonic() - started
        shown = enrolled.run_check("systemctl show -P Result -P ExecMainStatus edge-agent")
        assert (sorted(shown), times["stop with a backlog"] <= 10) == (["0", "success"], True)
        enrolled.run_check(f"kill -0 {keeper['pid']}")
    finally:
        central.start()
        enrolled.run("systemctl stop loud")
        enrolled.run_check("systemctl start edge-agent", timeout=180)
    until(lambda: central.connected(NODE), "the agent to be connected", 180)
    assert on_site(enrolled, "keeper")["pid"] == keeper["pid"]


def test_a_reload_takes_a_good_file_and_tells_who_asked_of_a_bad_one(enrolled: Any) -> None:
    pid = enrolled.run_check("systemctl show -P MainPID edge-agent")
    enrolled.run_check(f"cp {CONFIG} /root/agent.toml")
    try:
        enrolled.run_check(f"sed -i 's/^#limit_celsius = .*/limit_celsius = 97.0/' {CONFIG}")
        enrolled.run_check("systemctl reload edge-agent", timeout=COMMAND_SECONDS)
        until(lambda: "configuration changed: [heat] limit_celsius" in said(enrolled), "the new limit")
        enrolled.run_check(f"sed -i 's/^limit_celsius = .*/limit_celsius = \"hot\"/' {CONFIG}")
        assert enrolled.run("systemctl reload edge-agent", timeout=COMMAND_SECONDS)[2] != 0
        assert "[heat] limit_celsius: is a string; allowed: a number" in said(enrolled)
        assert enrolled.run_check("systemctl is-active edge-agent") == ["active"]
    finally:
        enrolled.run_check(f"cat /root/agent.toml >{CONFIG}")
        enrolled.run_check("systemctl reload edge-agent", timeout=COMMAND_SECONDS)
    assert enrolled.run_check("systemctl show -P MainPID edge-agent") == pid


def said(ssh: Any) -> str:
    return "\n".join(ssh.run_check("journalctl --no-pager -o cat -b -u edge-agent"))
