"""The hardware watchdog brings back a board whose kernel is dead or whose processes are.

The drop-in is the operator's (docs/OPERATIONS.md), so the suite plays the operator.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hil.board import until
from hil.central import Central
from hil.faults import AGENT, job, pid, start_of
from hil.qmp import Qmp
from hil.suite.conftest import NODE
from hil.suite.test_16_kills import DESIRED

SECONDS = 10
DROP_IN = "/etc/systemd/system.conf.d/watchdog.conf"
PANIC = "echo c >/proc/sysrq-trigger"
# Two loops of the highest real-time priority: nothing else gets a processor, systemd neither.
HANG = """sysctl -q kernel.sched_rt_runtime_us=-1
for one in $(seq $(nproc)); do chrt --fifo 99 sh -c "while :; do :; done" & done; wait"""


@pytest.fixture
def guarded(enrolled: Any) -> Iterator[Any]:
    """Its ssh; systemd feeds the watchdog."""
    enrolled.run_check(f"mkdir -p {DROP_IN.rpartition('/')[0]}")
    enrolled.run_check(f"printf '[Manager]\\nRuntimeWatchdogSec={SECONDS}s\\n' >{DROP_IN}")
    kept = enrolled.run_check(f"systemctl show -P NFileDescriptorStore {AGENT}")
    enrolled.run_check("systemctl daemon-reexec", timeout=60)
    assert enrolled.run_check("systemctl show -P RuntimeWatchdogUSec") == [f"{SECONDS}s"]
    assert enrolled.run_check(f"systemctl show -P NFileDescriptorStore {AGENT}") == kept
    yield enrolled
    enrolled.run_check(f"rm {DROP_IN} && systemctl daemon-reexec", timeout=60)


@pytest.mark.core
@pytest.mark.lg_feature("watchdog")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("what", "command"), [("kernel panic", PANIC), ("no process gets a processor", HANG)], ids=["panic", "hang"]
)
def test_the_watchdog_resets_a_board_after(
    what: str,
    command: str,
    board: Any,
    guarded: Any,
    central: Central,
    qmp: Qmp,
    injected: Callable[[str], None],
    times: dict[str, float],
) -> None:
    until(lambda: central.connected(NODE), "the node to be connected", 180)
    central.apply(NODE, DESIRED)
    until(lambda: job(guarded, "steady").get("state") == "JOB_STATE_RUNNING", "the job to run", 180)
    boot_id, attempt = guarded.run_check("cat /proc/sys/kernel/random/boot_id"), job(guarded, "steady")["attempt"]
    known = len(_starts(central))
    guarded.run_check(f"sync; systemd-run --quiet --on-active=3 sh -c '{command}'")
    board.leave()
    injected(what)
    try:
        qmp.wait("WATCHDOG", 120)
        injected("the watchdog fires")
        qmp.wait("RESET", 30)
    finally:
        board.arrive()
    assert board.ssh.run_check("cat /proc/sys/kernel/random/boot_id") != boot_id
    times[f"{what}, reset to agent ready"] = until(lambda: _active(board.ssh), "the agent to be ready", 240)
    until(lambda: central.connected(NODE), "the node to be connected", 180)
    until(lambda: job(board.ssh, "steady").get("attempt", 0) > attempt, "the job to run again", 180)
    assert board.ssh.run_check("systemctl --failed --no-legend") == []
    until(lambda: len(_starts(central)) > known, "central to hear of the start", 120)
    assert _starts(central)[-1].get("reset") == "watchdog"


def _active(ssh: Any) -> bool:
    return bool(ssh.run(f"systemctl is-active {AGENT}")[0] == ["active"])


def _starts(central: Central) -> list[dict[str, str]]:
    """Attributes of all starts of agents that central has heard of, oldest first."""
    events: list[dict[str, Any]] = central.ask("events", NODE)["events"]
    return [event["attributes"] for event in events if event["kind"] == "node.started"]


@pytest.mark.expects("edge-agent.service")
def test_an_agent_that_hangs_is_started_again_and_its_jobs_run_on(
    enrolled: Any, central: Central, injected: Callable[[str], None]
) -> None:
    until(lambda: central.connected(NODE), "the node to be connected", 180)
    central.apply(NODE, DESIRED)
    until(lambda: job(enrolled, "steady").get("state") == "JOB_STATE_RUNNING", "the job to run", 180)
    steady, before = job(enrolled, "steady"), pid(enrolled, AGENT)
    started = start_of(enrolled, steady["pid"])
    enrolled.run_check(f"kill -STOP {before}")
    injected("SIGSTOP edge-agent")
    until(lambda: pid(enrolled, AGENT) not in (before, 0) and _active(enrolled), "a new agent", 180)
    assert start_of(enrolled, steady["pid"]) == started
