"""The agent's job service as a process that is killed again and again while its jobs start, run and end."""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from agent.config.schema import JobsConfig
from agent.jobs import rows
from agent.jobs.metering import chain_hash
from agent.jobs.runner import JobsService
from agent.model import Event, JobState, UsageSample
from agent.sandbox import Sandbox
from agent.spec import JobSpec, Limits
from tests.fakes.bare import jobs_service
from tests.fakes.jobs import batch, desired, service
from tests.launched import TOP, Launched, launched

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
KILLS = 8
SEED = 20261122
LIMITS = Limits(cpu_milli=200, memory_bytes=32 << 20, tmp_bytes=1 << 20)


def sh(spec: JobSpec, text: str) -> JobSpec:
    return replace(spec, command=("/bin/sh", "-c", text), limits=LIMITS)


CODES = {f"batch-{n}": n for n in range(6)}
BATCHES = [sh(batch(id_), f"sleep {code}; exit {code}") for id_, code in CODES.items()]
BOMB = sh(batch("bomb"), "sleep 1; tail /dev/zero")
SERVICES = [sh(service(f"service-{n}"), "while :; do sleep 0.2; done") for n in range(2)]


async def child(socket: str, directory: str, mode: str) -> None:
    """One life of the agent. `run`: until killed; `end`: until all batches are over; `clear`: until nothing is left."""
    journal = os.open(Path(directory) / "journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def record(bodies):
        os.write(journal, b"".join(rows.body_to_json(body).encode() + b"\n" for body in bodies))

    config = JobsConfig(usage_interval_seconds=0.5, reserve_cpu_milli=0)
    jobs = jobs_service(config, Path(directory), Sandbox(Path(socket)), record)
    await jobs.apply(desired() if mode == "clear" else desired(*SERVICES, *BATCHES, BOMB))
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(jobs.run(stop, lambda: None))
        await jobs.recovered.wait()
        while not over(jobs, mode):
            await asyncio.sleep(0.02)
        for view in jobs.jobs():
            print(view.id, view.state, view.reason or "-", view.exit_code, view.attempt, view.pid)  # noqa: T201  # its answer
        stop.set()


def over(jobs: JobsService, mode: str) -> bool:
    if mode == "clear":
        return not jobs.jobs()
    final = {v.id for v in jobs.jobs() if v.state in (JobState.FINISHED, JobState.FAILED, JobState.LOST)}
    return mode == "end" and final == {*CODES, BOMB.id}


@pytest.fixture
def launcher() -> Iterator[Launched]:
    with launched() as one:
        yield one


def life(launcher: Launched, directory: Path, mode: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, __file__, str(launcher.socket), str(directory), mode],
        env={**os.environ, "PYTHONPATH": f"{TOP}:{TOP}/proto"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_no_job_runs_twice_no_code_is_wrong_and_no_link_is_missing(launcher: Launched, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    for _ in range(KILLS):
        process = life(launcher, tmp_path, "run")
        time.sleep(chance.uniform(0.3, 1.2))
        process.kill()
        process.communicate()
    told, _ = life(launcher, tmp_path, "end").communicate(timeout=60)
    views = {line.split()[0]: line.split()[1:] for line in told.splitlines()}
    for id_, code in CODES.items():
        assert views[id_][:4] == [
            "finished" if code == 0 else "failed", "completed" if code == 0 else "exit-code", str(code), "1",
        ]  # fmt: skip
    assert views["bomb"][:4] == ["failed", "oom", "137", "1"]
    for spec in SERVICES:
        assert views[spec.id][0] == "running" and views[spec.id][3] == "1"
        os.kill(int(views[spec.id][4]), 0)
    life(launcher, tmp_path, "clear").communicate(timeout=60)
    assert asyncio.run(Sandbox(launcher.socket).list_runs()) == ()

    bodies = [rows.body_from_json(line) for line in (tmp_path / "journal").read_text().splitlines()]
    for spec in (*BATCHES, BOMB, *SERVICES):
        states = [b.state.value for b in bodies if isinstance(b, Event) and b.job == spec.id]
        assert list(dict.fromkeys(states))[:3] == ["pending", "starting", "running"]
        assert states[-1] in ("finished", "failed")
    links: dict[int, UsageSample] = {}
    for body in bodies:
        if isinstance(body, UsageSample):
            assert links.setdefault(body.chain_index, body) == body
    previous = bytes(32)
    for index in range(1, len(links) + 1):
        assert links[index].chain_hash == chain_hash(previous, links[index])
        previous = links[index].chain_hash
    for spec in SERVICES:
        own = [links[index] for index in sorted(links) if links[index].job == spec.id]
        assert all(a.end_unix_nano == b.start_unix_nano for a, b in pairwise(own))


if __name__ == "__main__":
    asyncio.run(child(*sys.argv[1:]))
