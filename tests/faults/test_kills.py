"""Agent, launcher or both are killed at random while twenty jobs start, run and stop; `./dev faults`: 100 times.

Services must run on untouched, every batch job must run once a generation with its own exit code, and in the end
nothing may be left of anybody: no process, cgroup, mount, network, table or range of user ids.
"""

import os
import random
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from central.cli import client
from storeedge.v1 import desired_pb2 as wire
from storeedge.v1.agent_pb2 import Job
from storeedge.v1.operator_pb2 import ApplyRequest, ListNodeJobsRequest, QueryRecordsRequest
from storeedge.v1.operator_pb2_grpc import OperatorStub
from storeedge.v1.record_pb2 import (
    JOB_STATE_FAILED,
    JOB_STATE_FINISHED,
    JOB_STATE_LOST,
    JOB_STATE_RUNNING,
    Event,
)
from storeedge.v1.types_pb2 import RECORD_CLASS_EVENT
from tests.faults.leftovers import leftovers
from tests.stack import NODE, STORE, Stack, until

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("EDGE_KILLS", "6"))
SEED = int(os.environ.get("EDGE_SEED", "20261122"))
MIB = 1 << 20
STEADY = [f"steady-{n}" for n in range(6)]  # must run through all of it
GUESTS = [f"guest-{n}" for n in range(4)]  # services that come and go
BATCHES = {f"batch-{n}": (n * 29) % 100 for n in range(10)}  # job -> exit code
FINAL = (JOB_STATE_FINISHED, JOB_STATE_FAILED, JOB_STATE_LOST)


@dataclass
class World:
    stack: Stack
    central: OperatorStub
    chance: random.Random
    generations: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BATCHES, 1))
    guests: set[str] = field(default_factory=set[str])
    runs_jobs: bool = True

    def apply(self) -> None:
        quota = wire.Quota(
            jobs=32, cpu_milli=2000, memory_bytes=1 << 30, disk_bytes=1 << 30, network_bits_per_second=10**9,
            network_bytes_per_month=1 << 40, published_ports=4,
        )  # fmt: skip
        jobs = [
            spec(id_, 1, "while :; do sleep 0.2; done", kind=wire.JOB_KIND_SERVICE) for id_ in (*STEADY, *self.guests)
        ]
        jobs += [
            spec(id_, generation, f"sleep {0.1 + (generation + len(id_)) % 4 * 0.4}; exit {BATCHES[id_]}")
            for id_, generation in self.generations.items()
        ]
        desired = wire.Desired(tenants=[wire.Tenant(id="acme", quota=quota)], jobs=jobs if self.runs_jobs else [])
        self.central.Apply(ApplyRequest(nodes=[client.node_ref(f"{STORE}/{NODE}")], desired=desired), timeout=30)

    def jobs(self) -> dict[str, Job]:
        asked = ListNodeJobsRequest(node=client.node_ref(f"{STORE}/{NODE}"))
        return {job.id: job for job in self.central.ListNodeJobs(asked, timeout=30).jobs}

    def stir(self) -> None:
        """Batch jobs that are done run again, guests come and go."""
        known = self.jobs()
        for id_, generation in self.generations.items():
            job = known.get(id_)
            if job is not None and job.generation == generation and job.state in FINAL and self.chance.random() < 0.7:
                self.generations[id_] += 1
        self.guests ^= {self.chance.choice(GUESTS)}
        self.apply()

    def events(self) -> Iterator[Event]:
        cursor = 0
        while True:
            asked = QueryRecordsRequest(
                node=client.node_ref(f"{STORE}/{NODE}"), record_class=RECORD_CLASS_EVENT, after_id=cursor, limit=1000
            )
            found = self.central.QueryRecords(asked, timeout=30).records
            yield from (stored.record.event for stored in found if stored.record.event.kind == "job.state")
            if len(found) < 1000:
                return
            cursor = found[-1].id


def spec(id_: str, generation: int, text: str, kind: wire.JobKind = wire.JOB_KIND_BATCH) -> wire.JobSpec:
    number = int(id_.rpartition("-")[2])
    return wire.JobSpec(
        id=id_,
        generation=generation,
        tenant="acme",
        kind=kind,
        image="host",
        command=["/bin/sh", "-c", text],
        limits=wire.JobLimits(
            cpu_milli=60, memory_bytes=16 * MIB, pids=8, log_bytes=4096, tmp_bytes=65536,
            disk_bytes=8 * MIB if number % 3 == 1 else 0,
        ),
        network=wire.Network(peers=True) if number % 3 == 2 else None,
        stop_grace_seconds=1,
    )  # fmt: skip


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        one = Stack()
        stack.callback(one.close)
        with (one.dir / "launcher.toml").open("a") as policy:
            policy.write("max_runs = 64\n")
        config = one.config.read_text()
        one.config.write_text(config.replace("[jobs]\n", "[jobs]\nreserve_cpu_milli = 0\n"))
        one.up()
        arguments = Namespace(dir=one.dir / "central", central=f"127.0.0.1:{one.control_port}")
        yield World(one, stack.enter_context(client.operator(arguments)), random.Random(SEED))


def kill_something(world: World) -> str:
    """SIGKILL, then the same processes again, as systemd would; each start waits for READY."""
    victims = world.chance.choice((["agent"], ["launcher"], ["agent", "launcher"], ["launcher", "agent"]))
    for name in victims:
        world.stack.parts[name].kill()
        time.sleep(world.chance.uniform(0, 0.2))
    time.sleep(world.chance.uniform(0, 0.5))
    for name in sorted(victims, reverse=True):  # the launcher first, as the units order it
        world.stack.start_launcher() if name == "launcher" else world.stack.start_agent()
    return "+".join(victims)


def test_nothing_that_runs_is_touched_no_code_is_wrong_and_nothing_is_left(world: World) -> None:
    world.apply()
    until(
        lambda: all(world.jobs().get(id_, Job()).state == JOB_STATE_RUNNING for id_ in STEADY),
        what="services",
        seconds=60,
    )
    pids = {id_: job["pid"] for id_, job in _here(world.stack).items() if id_ in STEADY}
    for _ in range(KILLS):
        world.stir()
        time.sleep(world.chance.uniform(0.05, 1.0))
        kill_something(world)
    until(lambda: _settled(world), what="the last generation of every batch job", seconds=120)

    here = _here(world.stack)
    assert {id_: here[id_]["pid"] for id_ in STEADY} == pids
    ended: dict[tuple[str, int], set[tuple[int, int]]] = defaultdict(set)
    for event in world.events():
        assert event.state != JOB_STATE_LOST, event
        if event.job in STEADY:
            assert event.attempt <= 1, event
        if event.job in BATCHES and event.state in FINAL:
            ended[event.job, event.generation].add((event.attempt, event.exit_code))
    for id_, newest in world.generations.items():
        for generation in range(1, newest + 1):
            assert ended[id_, generation] == {(1, BATCHES[id_])}, (id_, generation)

    world.runs_jobs = False
    world.apply()
    until(lambda: not _here(world.stack), what="nothing to be left", seconds=60)
    until(lambda: not list((world.stack.dir / "launcher/runs").iterdir()), what="the launcher to forget", seconds=60)
    world.stack.parts["agent"].stop()
    world.stack.parts["launcher"].stop()
    assert leftovers(world.stack.dir, world.stack.run_dir, world.stack.cgroup, world.stack.netns) == []


def _all_run(world: World) -> bool:
    known = world.jobs()
    return all(id_ in known and known[id_].state == JOB_STATE_RUNNING for id_ in STEADY)


def _settled(world: World) -> bool:
    known = world.jobs()
    return all(
        known[id_].generation == generation and known[id_].state in FINAL
        for id_, generation in world.generations.items()
    )


def _here(stack: Stack) -> dict[str, dict[str, int]]:
    import json

    jobs = json.loads(stack.agent_cli("jobs", "--json")).get("jobs", [])
    return {job["id"]: job for job in jobs}
