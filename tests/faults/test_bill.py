"""The bill of a mixed load, with the agent killed five times in it, beside what the kernel counted itself."""

import json
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from central.cli import client
from storeedge.v1 import desired_pb2 as wire
from storeedge.v1.operator_pb2 import ApplyRequest, QueryRecordsRequest
from storeedge.v1.operator_pb2_grpc import OperatorStub
from storeedge.v1.record_pb2 import UsageSample
from storeedge.v1.types_pb2 import RECORD_CLASS_USAGE
from tests.stack import NODE, STORE, Stack, until

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.timeout(240)]

CRASHES = 5
MIB = 1 << 20
NANO = 1_000_000_000
# Each job ends by itself, so that its last figures are the kernel's at its end.
LOAD = {
    "spin": "import time\nend = time.monotonic() + 24\nwhile time.monotonic() < end: pass",
    "hold": "import time\nkept = bytearray(24 << 20)\ntime.sleep(24)",
    "waves": """
import time
for n in range(4):
    kept = bytearray((8 + 8 * (n % 2)) << 20); time.sleep(3); del kept; time.sleep(3)""",
    "store": """
import os, time
for n in range(24):
    with open('/work/f', 'ab') as f: f.write(bytes(1 << 18)); f.flush(); os.fsync(f.fileno())
    time.sleep(1)""",
    "listen": """
import socket, time
server = socket.create_server(('0.0.0.0', 7000)); peer, _ = server.accept()
while peer.recv(65536): pass""",
    "talk": """
import socket, time
for n in range(100):
    try: peer = socket.create_connection(('listen', 7000)); break
    except OSError: time.sleep(0.2)
for n in range(80): peer.sendall(bytes(50000)); time.sleep(0.25)""",
}


@dataclass
class Kernel:
    """Looks at a job's cgroup and interface every 20 ms, as no meter could afford to."""

    stack: Stack
    run: str
    memory_byte_seconds: float = 0.0
    network: tuple[int, int] = (0, 0)
    over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        directory = Path(f"/sys/fs/cgroup/memory/{self.stack.cgroup}/run-{self.run}/job")
        last, before = time.monotonic(), 0
        while not self.over.is_set():
            with suppress(OSError, ValueError, LookupError, StopIteration):
                fields = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
                now, held = time.monotonic(), int(fields["total_rss"]) + int(fields.get("total_shmem", "0"))
                self.memory_byte_seconds += (held + before) / 2 * (now - last)
                last, before = now, held
                pid = (directory / "cgroup.procs").read_text().split()[0]
                line = next(x for x in Path(f"/proc/{pid}/net/dev").read_text().splitlines() if "eth0:" in x)
                words = line.partition(":")[2].split()
                self.network = int(words[0]), int(words[8])
            time.sleep(0.02)


@pytest.fixture
def store() -> Iterator[tuple[Stack, OperatorStub]]:
    with ExitStack() as stack:
        one = Stack()
        stack.callback(one.close)
        config = one.config.read_text()
        one.config.write_text(config.replace("usage_interval_seconds = 5.0", "usage_interval_seconds = 6.0"))
        one.up()
        arguments = Namespace(dir=one.dir / "central", central=f"127.0.0.1:{one.control_port}")
        yield one, stack.enter_context(client.operator(arguments))


def jobs() -> list[wire.JobSpec]:
    limits = {
        "spin": wire.JobLimits(cpu_milli=200, memory_bytes=32 * MIB),
        "store": wire.JobLimits(cpu_milli=100, memory_bytes=48 * MIB, disk_bytes=32 * MIB),
    }
    return [
        wire.JobSpec(
            id=id_,
            generation=1,
            tenant="acme",
            kind=wire.JOB_KIND_BATCH,
            image="host",
            command=["/usr/bin/python3", "-c", text.strip()],
            limits=limits.get(id_, wire.JobLimits(cpu_milli=100, memory_bytes=48 * MIB)),
            network=wire.Network(peers=True) if id_ in ("listen", "talk") else None,
        )
        for id_, text in LOAD.items()
    ]


def test_the_bill_is_what_the_kernel_counted(store: tuple[Stack, OperatorStub]) -> None:
    stack, central = store
    quota = wire.Quota(
        jobs=8, cpu_milli=1500, memory_bytes=1 << 30, disk_bytes=1 << 30, network_bits_per_second=10**9,
        network_bytes_per_month=1 << 40,
    )  # fmt: skip
    desired = wire.Desired(tenants=[wire.Tenant(id="acme", quota=quota)], jobs=jobs())
    kernels = {id_: Kernel(stack, f"{id_}.1.1") for id_ in LOAD}
    for kernel in kernels.values():
        threading.Thread(target=kernel.watch, daemon=True).start()
    central.Apply(ApplyRequest(nodes=[client.node_ref(f"{STORE}/{NODE}")], desired=desired), timeout=30)
    for _ in range(CRASHES):
        time.sleep(4.0)
        stack.parts["agent"].kill()
        stack.start_agent()
    until(lambda: all(record(stack, id_).get("usage") for id_ in LOAD), what="the load to end", seconds=120)
    until(lambda: billed_wall(central) > 0 and ended(stack), what="the last bill", seconds=60)
    for kernel in kernels.values():
        kernel.over.set()

    bill = totals(central)
    for id_ in LOAD:
        run, samples = record(stack, id_), bill[id_]
        wall = (run["ended_unix_nano"] - run["started_unix_nano"]) / NANO
        assert samples.cpu_nano == pytest.approx(run["usage"]["cpu_nano"], rel=0.01), id_
        assert samples.wall_nano / NANO == pytest.approx(wall, rel=0.01), id_
    # Not a counter of the kernel: it is looked at once a second here, and not while the agent is away, so that what is
    # small and grows at its start is told less well than what is held.
    for id_ in ("spin", "listen", "talk", "store"):
        assert bill[id_].memory_byte_seconds == pytest.approx(kernels[id_].memory_byte_seconds, rel=0.25), id_
    assert bill["hold"].memory_byte_seconds == pytest.approx(kernels["hold"].memory_byte_seconds, rel=0.03)
    run = record(stack, "store")
    wall = (run["ended_unix_nano"] - run["started_unix_nano"]) / NANO
    assert bill["store"].disk_byte_seconds == pytest.approx(32 * MIB * wall, rel=0.01)
    for id_ in ("listen", "talk"):
        received, sent = kernels[id_].network
        assert bill[id_].network_receive_bytes == pytest.approx(received, rel=0.01), id_
        assert bill[id_].network_transmit_bytes == pytest.approx(sent, rel=0.01), id_
    verdict = stack.edgectl_json("usage", "--tenant", "acme", "--verify")
    assert not [each for each in verdict.get("usage", []) if each.get("faults")], verdict


def record(stack: Stack, id_: str) -> dict[str, Any]:
    """The launcher's own of the job's only run."""
    with suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads((stack.dir / "launcher/runs" / f"{id_}.1.1" / "record.json").read_text())
        return found
    return {}


def ended(stack: Stack) -> bool:
    told = json.loads(stack.agent_cli("jobs", "--json")).get("jobs", [])
    return {job["id"] for job in told if job["state"].endswith(("FINISHED", "FAILED"))} == set(LOAD)


def totals(central: OperatorStub) -> dict[str, UsageSample]:
    asked = QueryRecordsRequest(node=client.node_ref(f"{STORE}/{NODE}"), record_class=RECORD_CLASS_USAGE, limit=1000)
    found: dict[str, UsageSample] = {}
    seen = set[int]()  # a sample may come twice after a crash
    for stored in central.QueryRecords(asked, timeout=30).records:
        if stored.record.HasField("usage") and stored.record.usage.chain_index not in seen:
            seen.add(stored.record.usage.chain_index)
            one = stored.record.usage
            sum_ = found.setdefault(one.job, UsageSample())
            for name in (
                "cpu_nano", "wall_nano", "memory_byte_seconds", "disk_byte_seconds", "network_receive_bytes",
                "network_transmit_bytes",
            ):  # fmt: skip
                setattr(sum_, name, getattr(sum_, name) + getattr(one, name))
    return found


def billed_wall(central: OperatorStub) -> int:
    return min((one.wall_nano for one in totals(central).values()), default=0)
