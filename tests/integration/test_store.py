"""One store and its central, whole, as real processes: what the parts promise each other."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from storeedge.v1 import agent_pb2, agent_pb2_grpc
from tests.broker_files import Account
from tests.demo import evidence
from tests.stack import BIN, NODE, STORE, UNPRIVILEGED, Stack, StackError, running, until

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.timeout(180)]
TARGET = f"{STORE}/{NODE}"

JOBS = """
[[tenant]]
id = "acme"
quota = { jobs = 4, cpu_milli = 1000, memory = "256MiB" }
[[job]]
id = "ticker"
generation = 1
tenant = "acme"
kind = "service"
image = "host"
command = ["/bin/sh", "-c", "n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.2; done"]
cpu_milli = 100
memory = "32MiB"
[[job]]
id = "once"
generation = 1
tenant = "acme"
kind = "batch"
image = "host"
command = ["/bin/sh", "-c", "echo ran; exit 4"]
cpu_milli = 100
memory = "32MiB"
"""


@pytest.fixture(scope="module")
def store() -> Iterator[Stack]:
    with running(listen=True) as stack:
        jobs = stack.dir / "jobs.toml"
        jobs.write_text(JOBS)
        stack.edgectl("apply", str(jobs), "--node", TARGET)
        until(lambda: at_central(stack).get("once", {}).get("state") == "JOB_STATE_FAILED", what="once to end")
        until(lambda: here(stack).get("ticker", {}).get("pid"), what="ticker to run")
        yield stack


def at_central(stack: Stack) -> dict[str, Any]:
    return {job["id"]: job for job in stack.edgectl_json("jobs", TARGET)["jobs"]}


def here(stack: Stack) -> dict[str, Any]:
    jobs: list[dict[str, Any]] = json.loads(stack.agent_cli("jobs", "--json")).get("jobs", [])
    return {job["id"]: job for job in jobs}


def connected(stack: Stack) -> bool:
    return bool(stack.edgectl_json("node", "show", TARGET)["node"]["connected"])


def publish(stack: Stack, device: Account, *payloads: str) -> None:
    """As the broker's own client does it; it returns when the broker has acknowledged every line."""
    subprocess.run(
        ["mosquitto_pub", "-p", str(stack.mqtt_port), *device.words, "-q", "1", "-t", f"devices/{device.username}/t",
         "-l"],
        input="\n".join(payloads) + "\n", text=True, check=True, timeout=30,
    )  # fmt: skip


def received(stack: Stack, device: str) -> list[str]:
    messages = stack.edgectl_json("messages", TARGET)["messages"]
    return [m["payload"] for m in messages if m["device"] == device]


def test_a_batch_job_runs_and_central_has_its_exit_code_and_log(store: Stack) -> None:
    assert at_central(store)["once"]["exit_code"] == 4
    assert store.edgectl("logs", TARGET, "once").strip() == "ran"


def test_events_tell_the_life_of_a_job(store: Stack) -> None:
    events = store.edgectl_json("events", TARGET, "--job", "once")["events"]
    assert [(event["state"], event["reason"]) for event in events[-2:]] == [
        ("JOB_STATE_RUNNING", ""),
        ("JOB_STATE_FAILED", "exit-code"),
    ]
    assert {event["job"] for event in events} == {"once"}
    assert "exit-code" in store.edgectl("events", TARGET, "--limit", "20")


def test_the_agent_is_nobody_special_and_the_launcher_speaks_no_internet(store: Stack) -> None:
    agent = evidence.unprivileged(store.parts["agent"].pid)
    assert agent["uid"] != 0
    assert agent["no_new_privs"] is True
    assert {agent[name] for name in agent if str(name).startswith("Cap")} == {"0" * 16}
    assert evidence.inet_sockets(store.parts["launcher"].pid) == []


def test_a_caller_that_leaves_does_not_take_the_session_with_it(store: Stack) -> None:
    argv = [BIN / "edgectl", "--dir", store.dir / "central", "logs", TARGET, "ticker", "-f"]
    for _ in range(3):
        follower = subprocess.Popen([str(w) for w in argv], stdout=subprocess.PIPE, cwd="/")
        assert follower.stdout is not None
        assert follower.stdout.readline().startswith(b"tick")
        follower.send_signal(signal.SIGKILL)
        follower.wait(10)
        follower.stdout.close()
    assert store.edgectl("logs", TARGET, "once").strip() == "ran"
    assert connected(store)
    assert "not connected" not in store.parts["agent"].log.read_text()


def test_messages_of_a_cut_link_arrive_once_and_in_order(store: Stack) -> None:
    before, during = store.device("before"), store.device("during")
    publish(store, before, "1", "2", "3")
    until(lambda: len(received(store, "before")) == 3, what="messages before the cut")
    store.wire.cut()
    sent = [f"n{i}" for i in range(200)]
    publish(store, during, *sent)
    assert received(store, "during") == []
    store.wire.mend()
    until(lambda: len(received(store, "during")) >= 200, what="messages of the cut")
    assert received(store, "during") == sent


def test_a_killed_agent_finds_its_job_and_loses_no_message(store: Stack) -> None:
    pid = here(store)["ticker"]["pid"]
    sent = [f"k{i}" for i in range(500)]
    device = store.device("killed")
    publish(store, device, *sent[:250])
    store.parts["agent"].kill()
    publish(store, device, *sent[250:])
    store.start_agent()
    assert here(store)["ticker"]["pid"] == pid
    until(lambda: len(received(store, "killed")) >= 500, what="messages around the kill")
    assert received(store, "killed") == sent
    assert at_central(store)["once"]["attempt"] == 1


def test_a_killed_launcher_finds_its_run(store: Stack) -> None:
    pid = here(store)["ticker"]["pid"]
    store.parts["launcher"].kill()
    store.start_launcher()
    store.edgectl("job", "stop", TARGET, "ticker")
    until(lambda: here(store)["ticker"].get("pid") not in (0, pid, None), what="ticker to be started again")
    assert not Path(f"/proc/{pid}").exists()


def test_a_cold_boot_without_central_runs_what_was_desired(store: Stack) -> None:
    until(lambda: here(store)["ticker"].get("pid"), what="ticker to run")
    store.parts["agent"].stop()
    pid = next(int(p) for p in _pids("tick $n"))
    store.parts["central"].stop()
    os.kill(pid, signal.SIGKILL)  # what a reboot does to a run
    until(lambda: not Path(f"/proc/{pid}").exists(), what="the run to be gone")
    store.start_agent()
    until(lambda: here(store)["ticker"].get("pid"), what="ticker to run without central")
    assert "not connected" in store.agent_cli("status")
    store.start_central()
    until(lambda: connected(store), what="the node to be back")


def _pids(needle: str) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and needle.encode() in _cmdline(entry) and b"/bin/sh" in _cmdline(entry)[:8]:
            yield entry.name


def _cmdline(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def test_the_bill_checks_out(store: Stack) -> None:
    (usage,) = store.edgectl_json("usage", TARGET)["usage"]
    assert usage["chain_valid"] is True
    assert usage["cpu_nano"] > 0


def test_telemetry_arrives_with_opentelemetrys_names(store: Stack) -> None:
    until(lambda: store.edgectl_json("telemetry", TARGET)["series"], what="telemetry")
    names = {series["name"] for series in store.edgectl_json("telemetry", TARGET)["series"]}
    assert {"system.cpu.time", "system.memory.usage", "system.network.io", "system.uptime"} <= names


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def dial(store: Stack, certificate: tuple[Path, Path] | None) -> agent_pb2.GetNodeResponse:
    """GetNode on the agent's own port, with (key, chain) or with none."""
    key, chain = (path.read_bytes() for path in certificate) if certificate else (None, None)
    root = (store.dir / "central/operator/root.crt").read_bytes()
    host = f"{NODE}.{STORE}.store-edge.example"
    with grpc.secure_channel(
        f"127.0.0.1:{store.api_port}",
        grpc.ssl_channel_credentials(root, key, chain),
        options=[("grpc.ssl_target_name_override", host)],
    ) as channel:
        return agent_pb2_grpc.AgentServiceStub(channel).GetNode(agent_pb2.GetNodeRequest(), timeout=10)


def test_an_operator_may_call_the_node_on_its_own_port(store: Stack) -> None:
    operator = store.dir / "central/operator"
    node = dial(store, (operator / "operator.key", operator / "operator.crt"))
    assert node.spiffe_id.endswith(f"/store/{STORE}/node/{NODE}")


def test_another_stores_certificate_and_none_are_refused_on_the_port_and_the_first_is_audited(store: Stack) -> None:
    other = store.agent_run / "other"
    shutil.chown(_made(other), "edge-agent", "edge-agent")
    config = store.dir / "other.toml"
    config.write_text(f'[node]\nstate_dir = "{other}"\n')
    token = store.edgectl("token", "create", "--store", "oslo-3", "--node", "edge-9", "--ttl", "1h").split()[-1]
    argv = [*UNPRIVILEGED, BIN / "edge-agent", "--config", config, "enrol"]
    subprocess.run([*argv, "--central", f"127.0.0.1:{store.enrol_port}", "--token", token], check=True, cwd="/")
    identity = other / "identity/current"
    with pytest.raises(grpc.RpcError) as refusal:
        dial(store, (identity / "key.pem", identity / "chain.pem"))
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.RpcError) as refusal:
        dial(store, None)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
    actor = "spiffe://store-edge.example/store/oslo-3/node/edge-9"
    until(lambda: actor in store.edgectl("audit", TARGET, "--json"), what="the refusal in the audit trail at central")


def test_a_typo_in_the_configuration_is_one_clear_line(store: Stack, tmp_path: Path) -> None:
    wrong = store.dir / "typo.toml"
    wrong.write_text("[link]\nbackof_base_seconds = 1.0\n")
    done = subprocess.run(
        [*UNPRIVILEGED, BIN / "edge-agent", "--config", wrong, "run"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 78
    (line,) = done.stderr.strip().splitlines()
    assert f"{wrong}:2: [link] backof_base_seconds" in line
    assert "backoff_base_seconds" in line


def test_a_second_enrolment_with_a_spent_token_is_refused_and_audited(store: Stack) -> None:
    token = store.edgectl("token", "create", "--store", STORE, "--node", "edge-2", "--ttl", "1h").split()[-1]
    with pytest.raises(StackError, match="enrolled"):
        store.agent_cli("enrol", "--central", f"127.0.0.1:{store.enrol_port}", "--token", token)
