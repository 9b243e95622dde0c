"""The units of an enrolled board: running, ready by their own word, with no right they don't need."""

import re
from typing import Any

import pytest

from hil.board import COMMAND_SECONDS, status, until
from hil.central import Central
from hil.suite.conftest import NODE


@pytest.mark.core
def test_central_sees_the_node(enrolled: Any, central: Central) -> None:  # noqa: ARG001
    until(lambda: central.connected(NODE), "the node to be connected")


@pytest.mark.core
def test_the_agent_said_that_it_is_ready(enrolled: Any) -> None:
    shown = enrolled.run_check("systemctl show -p Type -p ActiveState -p SubState -p NRestarts edge-agent")
    assert sorted(shown) == ["ActiveState=active", "NRestarts=0", "SubState=running", "Type=notify"]


@pytest.mark.core
def test_the_agent_is_an_ordinary_user_with_no_capability(enrolled: Any) -> None:
    fields = status(enrolled, "edge-agent")
    uid = enrolled.run_check("id -u edge-agent")[0]
    assert uid != "0"
    assert fields["Uid"].split() == [uid] * 4
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


@pytest.mark.core
def test_the_launcher_runs_and_holds_no_internet_socket(enrolled: Any) -> None:
    # At its first start the kernel loads what networks take: that may be after the agent was ready.
    until(
        lambda: enrolled.run("systemctl is-active edge-launcher edge-jobs")[0] == ["active", "active"], "the launcher"
    )
    pid = enrolled.run_check("systemctl show -P MainPID edge-launcher")[0]
    # In its own network namespace: nothing but a loopback that is down, and not one socket of the internet families.
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet"):
        assert len(enrolled.run_check(f"cat /proc/{pid}/net/{table}")) == 1, table
    assert enrolled.run_check(f"readlink /proc/{pid}/ns/net") != enrolled.run_check("readlink /proc/1/ns/net")


@pytest.mark.core
def test_the_launcher_finds_all_that_jobs_can_have_here(enrolled: Any) -> None:
    said = "\n".join(enrolled.run_check("edge-agent status", timeout=COMMAND_SECONDS))
    assert {"apparmor=True", "idmap=True", "network=True", "cgroup=v2", "runtime=crun"} <= set(
        re.findall(r"\w+=\w+", said)
    )


def test_the_broker_is_open_to_the_store_by_tls_and_to_jobs_by_a_guarded_socket(enrolled: Any) -> None:
    listening = {line.split()[3] for line in enrolled.run_check("ss -Hltnp | grep mosquitto")}
    assert listening == {"127.0.0.1:1883", "0.0.0.0:8883", "[::]:8883", "0.0.0.0:8884", "[::]:8884"}
    files = "/run/edge-broker /run/edge-broker/jobs /run/edge-broker/jobs/broker.sock /var/lib/edge-broker/server.key"
    assert enrolled.run_check(f"stat -c %A:%U:%G {files}") == [
        "drwxr-x---:root:mosquitto",
        "drwxr-xr-x:mosquitto:mosquitto",
        "srw-rw-rw-:mosquitto:mosquitto",
        "-rw-r-----:edge-agent:mosquitto",
    ]
    _, refused, code = enrolled.run("mosquitto_pub -t devices/nobody/said -m boo")
    assert code != 0
    assert "not authorised" in "".join(refused).lower()


@pytest.mark.expects("edge-agent.service")
def test_an_agent_that_hangs_is_ended_by_the_watchdog_and_comes_back(enrolled: Any, central: Central) -> None:
    before = enrolled.run_check("systemctl show -P MainPID edge-agent")
    enrolled.run_check("systemctl kill -s STOP --kill-whom=main edge-agent")
    until(lambda: enrolled.run_check("systemctl show -P MainPID edge-agent") not in (before, ["0"]), "a new process")
    until(lambda: enrolled.run("systemctl is-active --quiet edge-agent")[2] == 0, "it to be ready")
    until(lambda: central.connected(NODE), "it to be connected")


@pytest.mark.core
def test_telemetry_of_the_board_reaches_central(enrolled: Any, central: Central) -> None:  # noqa: ARG001
    until(lambda: bool(_series(central)), "telemetry at central", 180)
    assert {"system.cpu.utilization", "system.memory.usage"} <= _series(central)


def _series(central: Central) -> set[str]:
    return {series["name"] for series in central.ask("telemetry", NODE)["series"]}
