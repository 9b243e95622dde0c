"""The power fails at each of hundreds of writes: the disk is recorded, and rebuilt as each could have left it.

Devices publish and a job is started again and again while central is away: all is on this disk and nowhere else.
What the agent had acknowledged by then must be there for the agent's own code to find (hil.replay.check).
"""

import json
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hil.board import until
from hil.central import Central
from hil.data_disk import DEVICE, FILE_SYSTEM_BYTES, DataDisk
from hil.faults import AGENT
from hil.publisher import Publisher
from hil.replay import marker, rebuild, writes
from hil.replay.check import Promise, check
from hil.strategy import Status
from hil.suite.conftest import NODE, REPORT
from hil.suite.test_13_many_cuts import CA, TLS_PASSWORD_PORT

# paho leaves the socket of a broken connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")
POINTS = int(os.environ.get("EDGE_CRASH_POINTS", "300"))
SEED = int(os.environ.get("EDGE_POWER_SEED", "13"))
RECORDED_SECONDS = 60.0
PER_SECOND = 8.0
BROKER_LOG = "/etc/mosquitto/conf.d/zz-hil.conf"
PYTHON = "/opt/store-edge-agent/current/bin/python"
DESIRED = """
[[tenant]]
id = "citycloud"
quota = { jobs = 4, cpu_milli = 1000, memory = "256MiB" }

[[job]]
id = "flapper"
tenant = "citycloud"
kind = "service"
command = ["sleep", "1"]
cpu_milli = 100
memory = "32MiB"
restart = { mode = "always", backoff = "1s", backoff_max = "1s", max_attempts = 0 }

[[job]]
id = "still"
tenant = "citycloud"
kind = "service"
command = ["sleep", "infinity"]
cpu_milli = 100
memory = "32MiB"
restart = { mode = "always", backoff = "1s" }
"""


@pytest.fixture(scope="module")
def state_disk(board: Any, env: Any) -> Iterator[DataDisk]:
    board.transition(Status.ENROLLED)
    made = DataDisk(board, Path(env.config.data["options"]["qmp_socket"]))
    made.attach()
    board.ssh.run_check(f"echo log_type debug >{BROKER_LOG} && systemctl restart mosquitto", timeout=120)
    yield made
    board.ssh.run_check(f"rm -f {BROKER_LOG} && systemctl restart mosquitto", timeout=120)
    made.detach()


@contextmanager
def seeded_bug(ssh: Any) -> Iterator[None]:
    """The spool no longer waits for the disk: what a careless change would make of it."""
    file = ssh.run_check(f"{PYTHON} -I -c 'import agent.spool.file as file; print(file.__file__)'")[0]
    # The bytecode goes with it: a release's is not compared with its source.
    ssh.run_check(
        f"cd $(dirname {file}) && cp -a file.py /root/ && mkdir /root/pyc && mv __pycache__/file.*.pyc /root/pyc"
    )
    ssh.run_check(f"sed -i 's/synchronous = FULL/synchronous = OFF/' {file} && grep -q 'synchronous = OFF' {file}")
    ssh.run_check(f"systemctl restart {AGENT}", timeout=180)
    try:
        yield
    finally:
        ssh.run_check(
            f"cd $(dirname {file}) && cp -a /root/file.py . && mv /root/pyc/* __pycache__/ && rmdir /root/pyc"
        )
        ssh.run_check(f"systemctl restart {AGENT}", timeout=180)


@contextmanager
def marking(ssh: Any) -> Iterator[None]:
    """marker.py on the board, through a connection of its own."""
    ssh.put(str(marker.__file__), "/root/marker.py")
    service = ssh.networkservice
    remote = f"exec python3 -u /root/marker.py {DEVICE} {FILE_SYSTEM_BYTES}"
    process = subprocess.Popen(
        [*("ssh", "-x", *ssh.ssh_prefix, "-p", str(service.port), "-l", service.username), service.address, remote],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        ssh.run("pkill -f /root/marker.py")
        process.wait(30)
        process.stdout.close()


def record(board: Any, state_disk: DataDisk, central: Central, folder: Path, name: str) -> str:
    """Base and log in `folder`; returns the spool's epoch."""
    ssh = board.ssh
    central.apply(NODE, DESIRED)
    until(lambda: central.job(NODE, "still").get("state") == "JOB_STATE_RUNNING", "the service to run", 240)
    until(lambda: int(central.job(NODE, "flapper").get("attempt", 0)) > 1, "the other to be started again", 120)
    ssh.get(CA, str(folder / "ca.crt"))
    address = board.reach(TLS_PASSWORD_PORT)
    names = [f"{name}-{number}" for number in range(3)]
    publishers = [Publisher(n, central.password(NODE, n), "grams", address, folder / "ca.crt") for n in names]
    central.stop()
    try:
        with marking(ssh), state_disk.recorded(folder / "base.raw", folder / "log"):
            for each in publishers:
                each.start(PER_SECOND)
            until(lambda: all(each.acknowledged for each in publishers), "the devices' first acknowledgements", 120)
            threading.Event().wait(RECORDED_SECONDS)  # what is recorded is what happens in this time
    finally:
        central.start()
        for each in publishers:
            each.close()
    until(lambda: central.connected(NODE), "the agent to be connected", 180)
    said = ssh.run_check("edge-agent spool --json", timeout=120)
    return str(json.loads("\n".join(said))["epoch"])


def replay(folder: Path, epoch: str, points: int) -> dict[str, Any]:
    """What was found at so many moments; "faults" is empty if all is well."""
    entries = list(writes.read(folder / "log"))
    marks = writes.marks(entries, FILE_SYSTEM_BYTES)
    draw = random.Random(SEED)
    disk = rebuild.Disk(folder / "base.raw", entries, folder)
    point = folder / "mounted"
    point.mkdir()
    faults: dict[int, list[str]] = {}
    started = time.monotonic()
    chosen = sorted(draw.sample(range(1, len(entries) + 1), min(points, len(entries))))
    for position in chosen:
        mounted = subprocess.run(["mount", "-o", "loop", str(disk.at(position, draw)), str(point)], check=False)
        if mounted.returncode != 0:
            faults[position] = ["it can't be mounted"]
            continue
        try:
            found = check(point, Promise.before(position, marks), epoch)
        finally:
            subprocess.run(["umount", str(point)], check=True)
        if found:
            faults[position] = found
    return {
        "points": len(chosen),
        "writes": sum(1 for entry in entries if entry.data),
        "flushes": sum(entry.flush or entry.durable for entry in entries),
        "marks": len(marks),
        "messages promised": sum(marks[-1][1]["acked"].values()) if marks else 0,
        "runs promised": len(Promise.before(len(entries), marks).runs),
        "seconds": round(time.monotonic() - started, 1),
        "faults": faults,
    }


@pytest.mark.lg_feature("virtual")
@pytest.mark.timeout(1800)
def test_at_every_write_all_that_was_acknowledged_is_there(
    enrolled: Any,  # noqa: ARG001
    board: Any,
    state_disk: DataDisk,
    central: Central,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    epoch = record(board, state_disk, central, tmp_path, "sound")
    result = replay(tmp_path, epoch, POINTS)
    (REPORT / "replay.json").write_text(json.dumps(result, indent=2))
    for name, value in result.items():
        record_property(name, value)
    assert result["messages promised"] > 100
    assert result["runs promised"] > 3
    assert result["faults"] == {}


@pytest.mark.lg_feature("virtual")
@pytest.mark.timeout(1800)
def test_the_check_finds_a_spool_that_does_not_wait_for_the_disk(
    enrolled: Any,
    board: Any,
    state_disk: DataDisk,
    central: Central,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    with seeded_bug(enrolled):
        epoch = record(board, state_disk, central, tmp_path, "bug")
    result = replay(tmp_path, epoch, POINTS // 3)
    (REPORT / "replay-seeded.json").write_text(json.dumps(result, indent=2))
    record_property("points with a fault", len(result["faults"]))
    lost = [found for faults in result["faults"].values() for found in faults if "acknowledged messages" in found]
    assert lost != []
