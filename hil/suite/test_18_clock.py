"""The board boots years away from the truth: the store works on, and all is well once the clock is right."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hil.board import COMMAND_SECONDS, until
from hil.central import Central
from hil.faults import AGENT, job
from hil.qmp import Qmp
from hil.suite.conftest import NODE
from hil.suite.test_16_kills import DESIRED

DEVICE = "till-c"
SET = "busybox date -u -s @{seconds:.0f} >/dev/null && python3 -c '{rtc}'"
# hwclock is in a package of its own, and not on every box.
RTC = """
import fcntl, struct, time
now = time.gmtime()
fields = (now.tm_sec, now.tm_min, now.tm_hour, now.tm_mday, now.tm_mon - 1, now.tm_year - 1900, 0, 0, 0)
fcntl.ioctl(open("/dev/rtc0"), 0x4024700A, struct.pack("9i", *fields))  # RTC_SET_TIME
"""
PAST, FUTURE = "2001-01-01", "2036-01-01"  # systemd believes no clock that is 15 years ahead of its own build


def set_clock(ssh: Any, seconds: float) -> None:
    """System clock and battery clock, to `seconds` since 1970."""
    ssh.run_check(SET.format(seconds=seconds, rtc=RTC))


@pytest.fixture
def afterwards(board: Any, enrolled: Any) -> Iterator[None]:  # noqa: ARG001
    """The right time, and a journal without the wrong one: what is from the future would be newer than all tests."""
    yield
    set_clock(board.ssh, time.time())
    board.ssh.run_check("journalctl -q --rotate && journalctl -q --vacuum-size=1K")


@pytest.mark.lg_feature("virtual")
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("date", [PAST, FUTURE])
def test_a_clock_that_is_years_wrong_at_boot(
    date: str,
    board: Any,
    enrolled: Any,
    afterwards: None,  # noqa: ARG001
    central: Central,
    qmp: Qmp,
    injected: Callable[[str], None],
    record_property: Callable[[str, object], None],
) -> None:
    until(lambda: central.connected(NODE), "the node to be connected", 180)
    central.apply(NODE, DESIRED)
    until(lambda: job(enrolled, "steady").get("state") == "JOB_STATE_RUNNING", "the job to run", 180)
    attempt = job(enrolled, "steady")["attempt"]
    password = central.password(NODE, DEVICE)
    set_clock(enrolled, time.mktime(time.strptime(date, "%Y-%m-%d")))
    injected(f"clock set to {date}, then a reboot")
    enrolled.run("systemd-run --quiet --on-active=2 systemctl reboot")
    board.leave()
    qmp.wait("RESET", 180)  # until then it would be the boot before that answers
    board.arrive()
    ssh = board.ssh
    record_property("the board believes", ssh.run_check("date -u +%F")[0])

    until(lambda: ssh.run(f"systemctl is-active {AGENT}")[0] == ["active"], "the agent to be ready", 240)
    until(lambda: job(ssh, "steady").get("attempt", 0) > attempt, "the job to run again", 180)
    until(lambda: not central.connected(NODE), "central to miss the node")
    plain = f"mosquitto_pub -V 5 -q 1 -p 1883 -i {DEVICE} -u {DEVICE} -P {password} -t devices/{DEVICE}/sold"
    sent = [f"{date}-{number}" for number in range(5)]
    for payload in sent:
        ssh.run_check(f"{plain} -m {payload}")
    told = "\n".join(ssh.run_check("edge-agent status", timeout=COMMAND_SECONDS))
    assert "not connected" in told
    doctor = json.loads("\n".join(ssh.run("edge-agent doctor --json", timeout=COMMAND_SECONDS)[0]))["checks"]
    findings = {each["check"]: f"{each['level']}: {each['text']}" for each in doctor}
    record_property("doctor says", {name: findings[name] for name in ("clock", "certificate", "central")})
    said = "\n".join(ssh.run_check(f"journalctl -q -b -u {AGENT} -o cat"))
    assert findings["certificate"].startswith("fail")
    assert "Traceback" not in said
    assert not [one for one in sent if one in payloads(central)]

    injected("clock set right")
    set_clock(ssh, time.time())
    until(lambda: central.connected(NODE), "the node to be connected again, by itself", 180)
    until(lambda: set(sent) <= set(payloads(central)), "what was sent meanwhile to be at central", 120)
    assert [one for one in payloads(central) if one in sent] == sent
    assert job(ssh, "steady")["state"] == "JOB_STATE_RUNNING"
    assert ssh.run_check("systemctl --failed --no-legend") == []


def payloads(central: Central) -> list[str]:
    return [message["payload"] for message in central.messages(NODE) if message["device"] == DEVICE]
