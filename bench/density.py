"""What 200 running services cost beyond themselves: our memory for each of them, and our processor time at rest.

A whole store with production's intervals. Counted are agent, launcher and one conmon a job, a page that several of them
share in parts (bench/footprint.py says why). The jobs' own memory is theirs, and billed.
"""

import argparse
import sys
from argparse import Namespace
from pathlib import Path

from bench.footprint import connected, idle_cpu, memory, production
from bench.table import Row, publish
from central.cli import client
from storeedge.v1.desired_pb2 import JOB_KIND_SERVICE, Desired, JobLimits, JobSpec, Quota, Tenant
from storeedge.v1.operator_pb2 import ApplyRequest
from tests.stack import NODE, STORE, Stack, until

JOBS = 200
ROUNDS = 3  # of 20 s: a minute, with its bill
MIB = 1 << 20


def prepare(stack: Stack) -> None:
    """Room for all of them: the least a job may ask is a hundredth of a core, and this machine has two."""
    production(stack.config)
    text = stack.config.read_text()
    stack.config.write_text(text.replace("[jobs]\n", "[jobs]\nreserve_cpu_milli = 0\n"))
    with (stack.dir / "launcher.toml").open("a") as policy:
        policy.write(f"max_runs = {JOBS + 8}\n")


def submit(stack: Stack, count: int) -> None:
    limits = JobLimits(cpu_milli=10, memory_bytes=4 * MIB, pids=4, log_bytes=4096, tmp_bytes=65536)
    jobs = [
        JobSpec(
            id=f"service-{number}",
            generation=1,
            tenant="bench",
            kind=JOB_KIND_SERVICE,
            image="host",
            command=["/bin/sleep", "infinity"],
            limits=limits,
        )
        for number in range(count)
    ]
    tenant = Tenant(id="bench", quota=Quota(jobs=count, cpu_milli=10 * count, memory_bytes=4 * MIB * count))
    with client.operator(Namespace(dir=stack.dir / "central", central=f"127.0.0.1:{stack.control_port}")) as central:
        node = client.node_ref(f"{STORE}/{NODE}")
        central.Apply(ApplyRequest(nodes=[node], desired=Desired(tenants=[tenant], jobs=jobs)), timeout=30)


def running(stack: Stack) -> int:
    return stack.agent_cli("jobs").count("running")


def monitors(stack: Stack) -> list[int]:
    """The conmons of this store's launcher."""
    return [int(path.read_text()) for path in (stack.run_dir / "launcher/live").glob("*/monitor.pid")]


def weigh(stack: Stack) -> tuple[float, float]:
    """MB of ours, and of it the monitors'."""
    pids = [stack.parts["agent"].pid, stack.parts["launcher"].pid]
    weights = memory([*pids, *monitors(stack)])
    return sum(weights), sum(weights[len(pids) :])


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.density", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    stack = Stack()
    try:
        prepare(stack)
        stack.up()
        ours = [stack.parts["agent"].pid, stack.parts["launcher"].pid]
        until(lambda: connected(stack), what="a session")
        idle_before = sum(idle_cpu(ours))
        before, _ = weigh(stack)
        submit(stack, JOBS)
        until(lambda: running(stack) == JOBS, what=f"{JOBS} services to run", seconds=300)
        rest: list[float] = []
        per_job: list[float] = []
        monitor: list[float] = []
        for _ in range(ROUNDS):
            rest.append(sum(idle_cpu(ours)))
            after, of_monitors = weigh(stack)
            per_job.append((after - before) / JOBS)
            monitor.append(of_monitors / JOBS)
        submit(stack, 0)
        until(lambda: not monitors(stack), what="all to be gone", seconds=300)
    finally:
        stack.close()
    rows = [
        Row("memory of ours for each job", "MB", per_job, "of it conmon", monitor, goal=1.0),
        # The mean: only one of the windows has the minute's bill in it.
        Row(f"processor, {JOBS} services at rest", "ms/s", [sum(rest) / ROUNDS], "no job", [idle_before], goal=10.0),
    ]
    return 0 if publish("density", rows, args.json) else 1


if __name__ == "__main__":
    sys.exit(main())
