"""The broker under systemd: jobs that were granted devices, a kill, devices that speak nothing but HTTPS."""

import time
from collections import Counter
from typing import Any

import pytest

from hil.board import COMMAND_SECONDS, Device, login, status, until
from hil.central import Central
from hil.suite.conftest import NODE
from hil.suite.test_4_jobs import on_site
from hil.suite.test_5_devices import payloads

TOP = """
[store]
reserve = { cpu_milli = 100, memory = "128MiB", disk = "64MiB" }

[[tenant]]
id = "seller"
quota = { jobs = 2, cpu_milli = 800, memory = "128MiB", mqtt_topics = 2 }
"""
JOBS = """
[[job]]
id = "watcher"
tenant = "seller"
kind = "service"
command = ["sh", "-c", '''
cat /proc/self/attr/current; ls /run/mqtt
me="--unix $EDGE_MQTT_SOCKET -u $(cat /run/secrets/mqtt_username) -P $(cat /run/secrets/mqtt_password) -V 5 -q 1"
mosquitto_sub $me -t devices/till-1/money -E 2>&1
mosquitto_pub $me -t devices/shelf-1/weight -m forged 2>&1
mosquitto_pub $me -t tenants/seller/note -m written && echo noted
topics="-t devices/shelf-1/weight -t devices/shelf-2/weight -t devices/till-1/money"
while true; do mosquitto_sub $me $topics -F "%t %p"; sleep 1; done''']
cpu_milli = 400
memory = "64MiB"
restart = { mode = "never" }
mqtt = [{ zone = "shelves", channel = "weight" }]

[[job]]
id = "bare"
tenant = "seller"
kind = "batch"
command = ["ls", "/run/mqtt"]
cpu_milli = 100
memory = "32MiB"
restart = { mode = "never" }
"""
ZONES = {"shelf-1": "shelves", "shelf-2": "shelves", "till-1": "checkout", "scale-1": "checkout"}
RULE = """
[[rule]]
filter = "devices/till-1/float"
residency = "store"
"""
CONTROL_PASSWORD = """
from pathlib import Path
from agent.mqtt.access import secret
print(secret.password(secret.load_or_make(Path("/var/lib/edge-agent")), "agent", "edge-agent-control", 0))
"""
POST = """
import base64, ssl, sys, urllib.error, urllib.request
request = urllib.request.Request("https://localhost:8443/devices/scale-1/grams", b"250", method="POST")
request.add_header("Authorization", "Basic " + base64.b64encode(f"scale-1:{sys.argv[1]}".encode()).decode())
tls = ssl.create_default_context(cafile="/var/lib/edge-broker/ca.crt")
try:
    print(urllib.request.urlopen(request, context=tls, timeout=20).status)
except urllib.error.HTTPError as refused:
    print(refused.code)
"""


@pytest.fixture(scope="module")
def kept() -> dict[str, str]:
    return {}


@pytest.fixture
def passwords(enrolled: Any, central: Central, kept: dict[str, str]) -> dict[str, str]:  # noqa: ARG001
    """Of devices that are registered by the first who asks; the jobs, which are granted some of them, are applied."""
    if not kept:
        until(lambda: central.connected(NODE), "the node to be connected")
        for device, zone in ZONES.items():
            kept[device] = central.password(NODE, device, "--zone", zone)
        central.apply(NODE, TOP + JOBS)
    return kept


def said(central: Central, job: str) -> list[str]:
    return [line["text"] for line in central.ask("logs", NODE, job)["lines"]]


@pytest.fixture
def watcher(enrolled: Any, passwords: dict[str, str], central: Central) -> dict[str, Any]:  # noqa: ARG001
    """Running, and through with what it is to be refused."""
    until(lambda: central.job(NODE, "watcher").get("state") == "JOB_STATE_RUNNING", "the watcher to run", 180)
    until(lambda: "noted" in said(central, "watcher"), "the watcher to have tried", 120)
    return on_site(enrolled, "watcher")


def test_a_job_sees_what_it_was_granted_and_nothing_else(
    enrolled: Any,
    watcher: dict[str, Any],  # noqa: ARG001
    central: Central,
    passwords: dict[str, str],
) -> None:
    shelf = Device(enrolled, "shelf-1", passwords["shelf-1"], "weight", 1.0)
    till = Device(enrolled, "till-1", passwords["till-1"], "money", 1.0)
    try:
        until(lambda: any(line.startswith("devices/") for line in said(central, "watcher")), "a message of the shelf")
        until(lambda: len(till.acknowledged) > 3, "messages of the till")
    finally:
        shelf.stop()
        till.stop()
    lines = said(central, "watcher")
    assert lines[:2] == ["edge-job (enforce)", "broker.sock"]
    assert [line for line in lines if "denied" in line or "Not authorized" in line] != []
    assert {line.split()[0] for line in lines if line.startswith("devices/")} == {"devices/shelf-1/weight"}
    assert "forged" not in payloads(central, "devices/shelf-1/weight")
    until(lambda: "exit_code" in central.job(NODE, "bare"), "the job without a grant to end")
    assert central.job(NODE, "bare")["exit_code"] != 0


@pytest.mark.expects("mosquitto.service")
def test_a_killed_broker_comes_back_and_nothing_is_missing(
    enrolled: Any, watcher: dict[str, Any], central: Central, passwords: dict[str, str], times: dict[str, float]
) -> None:
    devices = [Device(enrolled, name, passwords[name], "weight", 2.0) for name in ("shelf-2", "scale-1")]
    try:
        until(lambda: all(len(device.acknowledged) > 10 for device in devices), "messages of each")
        pid = enrolled.run_check("systemctl show -P MainPID mosquitto")
        seen = len(said(central, "watcher"))
        killed = time.monotonic()
        enrolled.run_check("systemctl kill -s KILL mosquitto")
        until(
            lambda: all(max(device.acknowledged.values()) > killed + 2 for device in devices),
            "messages of each, after the kill",
        )
        times["broker killed to devices acknowledged"] = (
            min(when for device in devices for when in device.acknowledged.values() if when > killed + 2) - killed
        )
        until(lambda: len(said(central, "watcher")) > seen + 5, "the watcher to see the shelf again")
    finally:
        for device in devices:
            device.stop()
    assert enrolled.run_check("systemctl show -P MainPID mosquitto") != pid
    assert enrolled.run_check("stat -c %a /run/edge-broker/jobs/broker.sock") == ["666"]
    after = on_site(enrolled, "watcher")
    assert (after["state"], after["pid"]) == ("JOB_STATE_RUNNING", watcher["pid"])
    sent = {(device.name, str(number)) for device in devices for number in device.acknowledged}

    def arrived() -> Counter[tuple[str, str]]:
        return Counter((message["device"], message["payload"]) for message in central.messages(NODE))

    until(lambda: sent <= set(arrived()), "all that was acknowledged")
    assert {what: count for what, count in arrived().items() if what in sent and count > 1} == {}


def test_the_operators_rules_hold_after_a_reload(enrolled: Any, central: Central, passwords: dict[str, str]) -> None:
    pid = enrolled.run_check("systemctl show -P MainPID edge-agent")
    enrolled.run_check(
        f"echo '{RULE}' >/etc/edge-agent/rules.toml && edge-agent rules check /etc/edge-agent/rules.toml"
    )
    enrolled.run_check("systemctl reload edge-agent")
    reloaded = "journalctl -q --since=-2min -u edge-agent -o cat"
    until(lambda: "reloaded" in enrolled.run_check(reloaded), "the rules to be read")
    till = login("till-1", passwords["till-1"])
    enrolled.run_check(f"mosquitto_pub {till} -t devices/till-1/float -m 4711-euro")
    enrolled.run_check(f"mosquitto_pub {till} -t devices/till-1/money -m after")
    until(lambda: "after" in payloads(central, "devices/till-1/money"), "the message after it at central")
    assert payloads(central, "devices/till-1/float") == []
    assert enrolled.run("grep -l 4711-euro /var/lib/edge-agent/*")[0] == []
    assert enrolled.run_check("systemctl show -P MainPID edge-agent") == pid


def test_a_broker_that_no_longer_knows_the_agent_is_started_again(enrolled: Any, central: Central) -> None:
    word = enrolled.run_check(f"/opt/store-edge-agent/current/bin/python -I -c '{CONTROL_PASSWORD}'")[0]
    remove = f"mosquitto_ctrl -u edge-agent-control -P {word} dynsec deleteClient edge-agent-control"
    before = enrolled.run_check("systemctl show -P MainPID mosquitto")

    def started_again() -> bool:
        if enrolled.run_check("systemctl show -P MainPID mosquitto") not in (before, ["0"]):
            return True
        enrolled.run(f"timeout 5 {remove}")  # both are called the same: the agent's own connection may throw it out
        return False

    until(started_again, "the broker to start from what the agent knows", 120)
    until(lambda: central.connected(NODE), "the agent to be connected")

    def known() -> bool:
        return bool(central.ask("device", "add", NODE, "till-1", "--zone", "checkout")["in_force"])

    until(known, "the agent to be the broker's administrator")


def test_a_device_that_speaks_only_https_is_let_in_by_its_password(
    enrolled: Any, central: Central, passwords: dict[str, str]
) -> None:
    section, key = r"/^\[gateway\]/,/^\[jobs\]/", 's/^#listen = .*/listen = "0.0.0.0:8443"/'
    enrolled.run_check(f"sed -i '{section} {key}' /etc/edge-agent/agent.toml")
    enrolled.run_check("edge-agent config check /etc/edge-agent/agent.toml", timeout=COMMAND_SECONDS)
    enrolled.run_check("systemctl enable --now edge-gateway", timeout=120)
    until(lambda: bool(enrolled.run_check("ss -Hltn sport = :8443")), "the door to be open")
    assert enrolled.run_check(f"python3 -c '{POST}' {passwords['scale-1']}") == ["204"]
    assert enrolled.run_check(f"python3 -c '{POST}' wrong") == ["401"]
    until(lambda: payloads(central, "devices/scale-1/grams") == ["250"], "the message at central")
    fields = status(enrolled, "edge-gateway")
    assert fields["Uid"].split()[0] not in ("0", enrolled.run_check("id -u edge-agent")[0])
    assert {fields[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {"0" * 16}
    enrolled.run_check("systemctl disable --now edge-gateway")
    central.apply(NODE, TOP)
