"""What the agent costs a board: memory, processor time when nothing happens, time to start."""

import time
from typing import Any

import pytest

UNITS = ("edge-agent", "edge-launcher", "mosquitto")
IDLE_SECONDS = 60.0
PSS_LIMIT_MIB = 96.0


def group(ssh: Any, unit: str) -> str:
    return f"/sys/fs/cgroup{ssh.run_check(f'systemctl show -P ControlGroup {unit}')[0]}"


def pss_mib(ssh: Any, unit: str) -> float:
    """Of all processes of a unit; pages that they share with others are counted by their part."""
    pids = ssh.run_check(f"cat {group(ssh, unit)}/cgroup.procs")
    files = " ".join(f"/proc/{pid}/smaps_rollup" for pid in pids)
    return sum(int(line.split()[1]) for line in ssh.run_check(f"grep -h ^Pss: {files}")) / 1024


def cpu_seconds(ssh: Any, unit: str) -> float:
    return int(ssh.run_check(f"grep usage_usec {group(ssh, unit)}/cpu.stat")[0].split()[1]) / 1e6


def start_seconds(ssh: Any, unit: str) -> float:
    """From systemd's fork to the unit's own word that it is ready, at its last start."""
    shown = ssh.run_check(f"systemctl show -p InactiveExitTimestampMonotonic -p ActiveEnterTimestampMonotonic {unit}")
    at = dict(line.split("=") for line in shown)
    return (int(at["ActiveEnterTimestampMonotonic"]) - int(at["InactiveExitTimestampMonotonic"])) / 1e6


@pytest.mark.core
@pytest.mark.timeout(600)
def test_what_the_units_cost_is_measured(enrolled: Any, figures: dict[str, str]) -> None:
    enrolled.run_check("systemctl restart edge-launcher edge-agent", timeout=240)
    for unit in ("edge-agent", "edge-launcher"):
        figures[f"{unit}: start to ready"] = f"{start_seconds(enrolled, unit):.1f} s"
    time.sleep(20)  # after its start: the session to central, the broker, the first samples
    before = {unit: cpu_seconds(enrolled, unit) for unit in UNITS}
    began = time.monotonic()
    time.sleep(IDLE_SECONDS)
    seconds = time.monotonic() - began
    for unit in UNITS:
        share = (cpu_seconds(enrolled, unit) - before[unit]) / seconds
        figures[f"{unit}: processor when idle"] = f"{share * 100:.2f} % of one core"
        pss = pss_mib(enrolled, unit)
        figures[f"{unit}: PSS"] = f"{pss:.1f} MiB"
        assert pss < PSS_LIMIT_MIB, unit
