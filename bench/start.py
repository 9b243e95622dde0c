"""How long a job takes to its first byte of output: ours, cold, held ahead and from central, beside four peers."""

import argparse
import contextlib
import json
import os
import socket
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from bench import peers
from bench.peers import Once, first_byte, request
from bench.table import Row, publish
from central.cli import client
from storeedge.v1.desired_pb2 import JOB_KIND_BATCH, Desired, JobLimits, JobSpec, Quota, Tenant
from storeedge.v1.operator_pb2 import ApplyRequest
from storeedge.v1.operator_pb2_grpc import OperatorStub
from tests.launched import Launched, launched
from tests.stack import NODE, STORE, Stack, running, until

RUNS = 30
WARM_UP = 3


def call(path: Path, value: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(str(path))
        connection.send(json.dumps(value).encode())
        data, fds, _, _ = socket.recv_fds(connection, 100_000, 1)
    for fd in fds:
        os.close(fd)
    answer = json.loads(data)
    assert "ok" in answer, answer
    found: dict[str, Any] = answer["ok"]
    return found


def cold(one: Launched, number: int) -> float:
    return _launcher(one, f"cold-{number}")


def held(one: Launched, number: int) -> float:
    """Only the start is timed: the sandbox was made before anybody asked for it."""
    run = f"held-{number}"
    call(one.socket, {"op": "hold", **request(run)})
    return _launcher(one, run)


def _launcher(one: Launched, run: str) -> float:
    begin = time.time()
    call(one.socket, {"op": "start", **request(run)})
    milli = (first_byte(one.directory / "run/logs" / run) - begin) * 1000
    until(lambda: call(one.socket, {"op": "state", "run": run})["phase"] != "running", what=run)
    call(one.socket, {"op": "remove", "run": run})
    return milli


class Central:
    """From an operator's Apply at central to the job's first byte on the node: session, disk, admission, launcher."""

    def __init__(self, stack: Stack, operator: OperatorStub) -> None:
        self._stack = stack
        self._operator = operator
        self._generations = {"whole": 0, "warm": 0}  # what is not in the desired state any more is taken down

    def submit(self, job: str) -> float:
        self._generations[job] += 1
        run = f"{job}.{self._generations[job]}.1"
        if job == "warm" and self._generations[job] > 1:
            until(lambda: _phase(self._stack, run) == "held", what=f"{run} to be held")
        jobs = [_job(id_, generation) for id_, generation in self._generations.items() if generation]
        tenant = Tenant(id="bench", quota=Quota(jobs=8, cpu_milli=2000, memory_bytes=1 << 30))
        node = client.node_ref(f"{STORE}/{NODE}")
        wanted = ApplyRequest(nodes=[node], desired=Desired(tenants=[tenant], jobs=jobs))
        begin = time.time()
        self._operator.Apply(wanted, timeout=30)
        milli = (first_byte(self._stack.run_dir / "launcher/logs" / run) - begin) * 1000
        until(lambda: _phase(self._stack, run) in ("", "ended"), what=f"{run} to end")
        return milli


def _job(id_: str, generation: int) -> JobSpec:
    return JobSpec(
        id=id_,
        generation=generation,
        tenant="bench",
        kind=JOB_KIND_BATCH,
        image="host",
        command=peers.COMMAND,
        limits=JobLimits(cpu_milli=700, memory_bytes=64 << 20, log_bytes=65536, tmp_bytes=1 << 20),
        warm=1 if id_ == "warm" else 0,
    )


def _phase(stack: Stack, run: str) -> str:
    """As the launcher's own record has it (it answers the agent's user alone); empty when it doesn't know the run."""
    with contextlib.suppress(OSError, ValueError):
        stage: str = json.loads((stack.dir / "launcher/runs" / run / "record.json").read_text())["stage"]
        return stage
    return ""


def rows(samples: dict[str, list[float]], runtime: str) -> list[Row]:
    to_start = "launcher's request to first byte"
    from_central = "submitted at central to first byte"
    peer_names = {
        "bare": f"conmon + {runtime}, same bundle",
        "podman": f"podman run ({runtime})",
        "docker": "docker run",
        "nspawn": "systemd-nspawn",
    }
    goals = {"bare": 1.15, "podman": 1 / 4, "docker": 1 / 6, "nspawn": None}
    found = [
        Row(to_start, "ms", samples["cold"], peer_names[key], samples[key], goal_ratio=goals[key])
        for key in ("bare", "podman", "docker", "nspawn")
        if samples[key]
    ]
    bare = (peer_names["bare"], samples["bare"])
    return [
        *found,
        Row(from_central, "ms", samples["whole"], *bare, goal_ratio=1.5),
        Row(f"{to_start}, held ahead (warm)", "ms", samples["held"], *bare, goal=10.0),
        Row(f"{from_central}, held ahead (warm)", "ms", samples["whole-warm"], *bare),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.start", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(launched())
        store = stack.enter_context(running())
        arguments = Namespace(dir=store.dir / "central", central=f"127.0.0.1:{store.control_port}")
        central = Central(store, stack.enter_context(client.operator(arguments)))
        runtime = call(one.socket, {"op": "hello"})["runtime"]
        ways: dict[str, Once | None] = {
            "cold": lambda number: cold(one, number),
            "bare": stack.enter_context(peers.bare(one, runtime)),
            "held": lambda number: held(one, number),
            "podman": stack.enter_context(peers.podman(one, runtime)),
            "whole": lambda _: central.submit("whole"),
            "docker": stack.enter_context(peers.docker(one)),
            "nspawn": stack.enter_context(peers.nspawn(one)),
            "whole-warm": lambda _: central.submit("warm"),
        }
        samples: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(WARM_UP + RUNS):  # in turns, so that a noisy moment hits all of them
            for way, once in ways.items():
                milli = once(number) if once else None
                if milli is not None and number >= WARM_UP:
                    samples[way].append(milli)
    return 0 if publish("start", rows(samples, runtime), args.json) else 1


if __name__ == "__main__":
    sys.exit(main())
