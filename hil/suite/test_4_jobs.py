"""Tenants' jobs under crun on pure cgroup v2, asked for by central and executed on the board."""

import json
from typing import Any

import pytest

from hil.board import COMMAND_SECONDS, until
from hil.central import Central
from hil.suite.conftest import NODE

DESIRED = """
[[tenant]]
id = "citycloud"
quota = { jobs = 4, cpu_milli = 1000, memory = "256MiB" }

[[job]]
id = "probe"
tenant = "citycloud"
kind = "batch"
command = ["sh", "-c", "cat /proc/self/status; id -u; cat /proc/self/uid_map; ip -o link; ls /; echo the end; exit 7"]
cpu_milli = 500
memory = "64MiB"
restart = { mode = "never" }

[[job]]
id = "keeper"
tenant = "citycloud"
kind = "service"
command = ["sh", "-c", "while true; do echo still here; sleep 5; done"]
cpu_milli = 100
memory = "32MiB"
restart = { mode = "always", backoff = "1s" }
"""
JOBS = "/sys/fs/cgroup/edge.slice/edge-tenants.slice/edge-jobs.service"


@pytest.fixture(scope="module")
def applied(central: Central, board: Any) -> None:  # noqa: ARG001
    central.apply(NODE, DESIRED)


def on_site(ssh: Any, name: str) -> dict[str, Any]:
    """A job as a technician sees it."""
    jobs = json.loads("\n".join(ssh.run_check("edge-agent jobs --json", timeout=COMMAND_SECONDS)))["jobs"]
    return next(job for job in jobs if job["id"] == name)


@pytest.fixture
def keeper(enrolled: Any, applied: None, central: Central) -> dict[str, Any]:  # noqa: ARG001
    until(lambda: central.job(NODE, "keeper").get("state") == "JOB_STATE_RUNNING", "the service to run")
    return on_site(enrolled, "keeper")


@pytest.fixture
def probe(enrolled: Any, applied: None, central: Central) -> list[str]:  # noqa: ARG001
    """Its output, as central has it."""
    until(lambda: "exit_code" in central.job(NODE, "probe"), "the batch job to end")
    return [line["text"] for line in central.ask("logs", NODE, "probe")["lines"]]


@pytest.mark.core
def test_exit_code_and_output_are_at_central(probe: list[str], central: Central) -> None:
    assert central.job(NODE, "probe")["exit_code"] == 7
    assert probe[-1] == "the end"


@pytest.mark.core
def test_a_job_has_no_capability_and_a_system_call_filter(probe: list[str]) -> None:
    fields = dict(line.split(":\t", 1) for line in probe if ":\t" in line)
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


@pytest.mark.core
def test_a_job_has_its_own_users_network_and_files(probe: list[str]) -> None:
    inside, outside, count = next(line.split() for line in probe if len(line.split()) == 3 and line.split()[0] == "0")
    assert (inside, count) == ("0", "65536")
    assert int(outside) >= 1 << 16
    assert [line.split(":")[1].strip() for line in probe if ": <" in line] == ["lo"]
    assert "opt" not in probe


@pytest.mark.core
def test_its_limits_are_the_kernels(enrolled: Any, keeper: dict[str, Any]) -> None:
    job = enrolled.run_check(f"ls -d {JOBS}/run-*keeper*/job")[0]

    def read(name: str) -> str:
        return str(enrolled.run_check(f"cat {job}/{name}")[0])

    assert read("memory.max") == str(32 << 20)
    assert read("memory.swap.max") == "0"
    assert read("pids.max") == "64"
    assert read("cpu.max") == "10000 100000"
    assert str(keeper["pid"]) in enrolled.run_check(f"cat {job}/cgroup.procs")


@pytest.mark.expects("edge-agent.service", "edge-launcher.service")
@pytest.mark.parametrize("unit", ["edge-launcher", "edge-agent"])
def test_a_job_outlives_the_death_of(unit: str, enrolled: Any, keeper: dict[str, Any], central: Central) -> None:
    before = enrolled.run_check(f"systemctl show -P MainPID {unit}")
    enrolled.run_check(f"systemctl kill -s KILL {unit}")
    until(
        lambda: (
            enrolled.run_check(f"systemctl show -P MainPID {unit}") not in (before, ["0"])
            and enrolled.run(f"systemctl is-active --quiet {unit}")[2] == 0
        ),
        f"{unit} to be back",
    )
    until(lambda: central.connected(NODE), "the agent to be connected")
    after = on_site(enrolled, "keeper")
    assert (after["state"], after["pid"], after["attempt"]) == ("JOB_STATE_RUNNING", keeper["pid"], keeper["attempt"])
    enrolled.run_check(f"test -d /proc/{keeper['pid']}")
