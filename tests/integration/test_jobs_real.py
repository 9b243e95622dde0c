"""Jobs with real parts: a launcher process, conmon, an OCI runtime, this machine's kernel; the service in here."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from agent.config.schema import JobsConfig
from agent.jobs.metering import chain_hash
from agent.jobs.runner import JobsService
from agent.model import Event, JobState, JobView, UsageSample
from agent.sandbox import Sandbox
from agent.spec import JobKind, JobSpec, Limits, RestartMode, RestartPolicy
from tests.fakes.bare import jobs_service
from tests.fakes.jobs import ALWAYS, NEVER, desired
from tests.launched import Launched, launched

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launched]:
    with launched() as one:
        yield one


class Node:
    """What outlives the agent's process: its state directory, the launcher, and central's end of the spool."""

    def __init__(self, launcher: Launched, directory: Path) -> None:
        self.sandbox = Sandbox(launcher.socket)
        self.directory = directory
        self.records: list[object] = []
        self.config = JobsConfig(usage_interval_seconds=0.5, reserve_cpu_milli=0)

    async def record(self, bodies):
        self.records += bodies

    @asynccontextmanager
    async def agent(self, *specs: JobSpec, crash: bool = False) -> AsyncIterator[JobsService]:
        jobs, stop = jobs_service(self.config, self.directory, self.sandbox, self.record), asyncio.Event()
        await jobs.apply(desired(*specs))
        task = asyncio.create_task(jobs.run(stop, lambda: None))
        try:
            async with asyncio.timeout(30):
                await jobs.recovered.wait()
            yield jobs
        finally:
            if crash:
                task.cancel()
            stop.set()
            await asyncio.wait([task])

    def told(self, job: str) -> list[str]:
        return [r.state.value for r in self.records if isinstance(r, Event) and r.job == job]

    def chain(self, tenant: str = "acme") -> list[UsageSample]:
        """The bill as central would hold it; what was sent twice must be identical."""
        links: dict[int, UsageSample] = {}
        for sample in self.records:
            if isinstance(sample, UsageSample) and sample.tenant == tenant:
                assert links.setdefault(sample.chain_index, sample) == sample
        return [links[index] for index in sorted(links)]


@pytest.fixture
async def node(launcher: Launched, tmp_path: Path) -> AsyncIterator[Node]:
    one = Node(launcher, tmp_path)
    yield one
    async with one.agent() as jobs:  # nothing is desired any more: every run ends and goes
        await until(lambda: jobs.jobs() == ())
    async with asyncio.timeout(20):
        while await one.sandbox.list_runs():
            await asyncio.sleep(0.05)


_count = iter(range(1000))


def script(text: str, **changes: object) -> JobSpec:
    spec = JobSpec(
        id=f"job-{next(_count)}",
        generation=1,
        tenant="acme",
        kind=JobKind.BATCH,
        image="host",
        command=("/bin/sh", "-c", text),
        limits=Limits(cpu_milli=500, memory_bytes=48 << 20, tmp_bytes=1 << 20),
        restart=NEVER,
        stop_grace_seconds=5,
    )
    return replace(spec, **changes)


def view(jobs: JobsService, spec: JobSpec) -> JobView:
    return next(v for v in jobs.jobs() if v.id == spec.id)


async def until(condition, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def reaches(jobs: JobsService, spec: JobSpec, *states: JobState) -> JobView:
    await until(lambda: view(jobs, spec).state in states)
    return view(jobs, spec)


async def text(jobs: JobsService, spec: JobSpec) -> str:
    return b"\n".join([line.text async for lines in jobs.logs(spec.id, 65536, False) for line in lines]).decode()


async def test_exit_codes_and_logs_are_the_jobs_own(node: Node) -> None:
    good, bad = script("echo hello; echo oops >&2"), script("echo bye; exit 3")
    async with node.agent(good, bad) as jobs:
        await reaches(jobs, good, JobState.FINISHED)
        ended = await reaches(jobs, bad, JobState.FAILED)
        assert (view(jobs, good).exit_code, ended.exit_code, ended.reason) == (0, 3, "exit-code")
        assert sorted((await text(jobs, good)).split()) == ["hello", "oops"]
        assert await text(jobs, bad) == "bye"
        await until(lambda: node.told(bad.id)[-1] == "failed" and node.told(good.id)[-1] == "finished")
    assert node.told(good.id) == ["pending", "starting", "running", "finished"]


async def test_a_missing_program_fails_with_a_word_about_it(node: Node) -> None:
    spec = script("", command=("/bin/nonexist",))
    async with node.agent(spec) as jobs:
        ended = await reaches(jobs, spec, JobState.FAILED)
        assert ended.reason == "exit-code" and ended.exit_code not in (None, 0)
        assert "No such file" in await text(jobs, spec)


async def test_a_service_killed_from_outside_starts_again(node: Node) -> None:
    spec = script("echo up; exec sleep 1000", kind=JobKind.SERVICE, restart=ALWAYS)
    async with node.agent(spec) as jobs:
        first = await reaches(jobs, spec, JobState.RUNNING)
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: view(jobs, spec).state is JobState.BACKING_OFF)
        assert (view(jobs, spec).exit_code, view(jobs, spec).reason) == (137, "exit-code")
        again = await reaches(jobs, spec, JobState.RUNNING)
        assert (again.attempt, again.pid == first.pid) == (2, False)


async def test_a_memory_bomb_ends_by_oom_alone(node: Node) -> None:
    bomb = script("tail /dev/zero")
    neighbour = script("exec sleep 1000", kind=JobKind.SERVICE, restart=ALWAYS)
    async with node.agent(neighbour, bomb) as jobs:
        calm = await reaches(jobs, neighbour, JobState.RUNNING)
        ended = await reaches(jobs, bomb, JobState.FAILED)
        assert (ended.reason, ended.exit_code) == ("oom", 137)
        assert view(jobs, neighbour) == calm
        await until(lambda: any(s.job == bomb.id for s in node.chain()))


async def test_a_deadline_ends_a_job_that_listens_and_one_that_does_not(node: Node) -> None:
    listens = script("trap 'echo asked; exit 9' TERM; while :; do sleep 0.1; done", deadline_seconds=1)
    deaf = script("trap '' TERM; while :; do sleep 0.1; done", deadline_seconds=1, stop_grace_seconds=1)
    async with node.agent(listens, deaf) as jobs:
        ended = await reaches(jobs, listens, JobState.FAILED)
        assert (ended.reason, ended.exit_code) == ("deadline", 9)
        assert "asked" in await text(jobs, listens)
        ended = await reaches(jobs, deaf, JobState.FAILED)
        assert (ended.reason, ended.exit_code) == ("deadline", 137)
        assert ended.ended_unix_nano - ended.started_unix_nano > 2 * SECOND


async def test_a_stop_is_asked_for_and_a_service_comes_back_by_its_policy(node: Node) -> None:
    spec = script("trap 'exit 0' TERM; while :; do sleep 0.1; done", kind=JobKind.SERVICE, restart=ALWAYS)
    async with node.agent(spec) as jobs:
        first = await reaches(jobs, spec, JobState.RUNNING)
        await jobs.stop_job(spec.id)
        await until(lambda: view(jobs, spec).attempt == 2 and view(jobs, spec).state is JobState.RUNNING)
        assert view(jobs, spec).pid != first.pid
        await until(lambda: "backing-off" in node.told(spec.id))


@pytest.mark.parametrize("crash", [True, False])
async def test_jobs_outlive_the_agent_and_are_adopted(node: Node, crash: bool) -> None:
    service = script("exec sleep 1000", kind=JobKind.SERVICE, restart=ALWAYS)
    meanwhile = script("sleep 1; echo done; exit 3")
    done = script("echo once")
    async with node.agent(service, meanwhile, done, crash=crash) as jobs:
        pid = (await reaches(jobs, service, JobState.RUNNING)).pid
        await reaches(jobs, meanwhile, JobState.RUNNING)
        await reaches(jobs, done, JobState.FINISHED)
    await asyncio.sleep(1.5)  # the time in which nobody looks: `meanwhile` ends in it
    async with node.agent(service, meanwhile, done) as jobs:
        assert (view(jobs, service).state, view(jobs, service).pid) == (JobState.RUNNING, pid)
        ended = view(jobs, meanwhile)
        assert (ended.state, ended.exit_code, ended.attempt) == (JobState.FAILED, 3, 1)
        assert await text(jobs, meanwhile) == "done"
        assert view(jobs, done).attempt == 1 and view(jobs, done).state is JobState.FINISHED
        os.kill(pid, 0)


async def test_jobs_outlive_the_launcher_too(node: Node, launcher: Launched) -> None:
    service = script("exec sleep 1000", kind=JobKind.SERVICE, restart=ALWAYS)
    ends = script("sleep 1; exit 4")
    async with node.agent(service, ends) as jobs:
        pid = (await reaches(jobs, service, JobState.RUNNING)).pid
        await reaches(jobs, ends, JobState.RUNNING)
        launcher.end(signal.SIGKILL)
        await asyncio.sleep(1.5)  # `ends` ends while there is no launcher to ask
        assert view(jobs, ends).state is JobState.RUNNING
        launcher.start()
        ended = await reaches(jobs, ends, JobState.FAILED)
        assert ended.exit_code == 4
        assert view(jobs, service).pid == pid
        await jobs.stop_job(service.id)
        await until(lambda: view(jobs, service).attempt == 2)


async def test_the_bill_matches_the_kernels_counters_and_its_chain_holds_across_crashes(node: Node) -> None:
    busy = script("while :; do :; done", kind=JobKind.SERVICE, restart=ALWAYS)
    idle = script("sleep 1000", kind=JobKind.SERVICE, restart=ALWAYS)
    for _ in range(4):
        async with node.agent(busy, idle, crash=True) as jobs:
            await reaches(jobs, busy, JobState.RUNNING)
            billed = len(node.chain())
            await until(lambda billed=billed: len(node.chain()) >= billed + 2)
    async with node.agent(busy, idle) as jobs:
        runs = {spec.id: f"{spec.id}.1.1" for spec in (busy, idle)}
        seen = {id_: (await node.sandbox.usage(run)).cpu_nano for id_, run in runs.items()}
        started = view(jobs, busy).started_unix_nano
        await jobs.apply(desired())
        await until(lambda: jobs.jobs() == ())
        await until(lambda: node.told(busy.id)[-1] == "finished" and node.told(idle.id)[-1] == "finished")
    chain = node.chain()
    previous = bytes(32)
    for index, sample in enumerate(chain, 1):
        assert (sample.chain_index, sample.chain_hash) == (index, chain_hash(previous, sample))
        previous = sample.chain_hash
    of_busy = [s for s in chain if s.job == busy.id]
    cpu = sum(s.cpu_nano for s in of_busy)
    assert 0 <= cpu - seen[busy.id] < SECOND / 2
    wall = sum(s.wall_nano for s in of_busy)
    assert abs(wall - (of_busy[-1].end_unix_nano - started)) < SECOND / 10
    assert 0 < sum(s.memory_byte_seconds for s in of_busy) < (48 << 20) * wall / SECOND
    for before, after in pairwise(of_busy):
        assert before.end_unix_nano == after.start_unix_nano


async def test_a_follower_gets_every_line_up_to_the_last_while_the_log_is_begun_anew(node: Node) -> None:
    limits = Limits(cpu_milli=500, memory_bytes=48 << 20, tmp_bytes=1 << 20, log_bytes=16384)
    spec = script("for i in $(seq 1200); do echo line $i; [ $((i % 50)) = 0 ] && sleep 0.05; done; exit 0",
                  limits=limits)  # fmt: skip
    async with node.agent(spec) as jobs:
        await reaches(jobs, spec, JobState.RUNNING, JobState.FINISHED)
        seen = [line.text async for lines in jobs.logs(spec.id, 65536, True) for line in lines]
        await reaches(jobs, spec, JobState.FINISHED)
        kept = (await text(jobs, spec)).splitlines()
    numbers = [int(text_.split()[1]) for text_ in seen]
    assert numbers[-1] == 1200 and numbers == sorted(set(numbers))
    assert len(kept) < 500 and kept[-1] == "line 1200"
    assert len(numbers) > len(kept)


async def test_a_crash_loop_ends_after_its_attempts(node: Node) -> None:
    policy = RestartPolicy(RestartMode.ON_FAILURE, max_attempts=2, backoff_seconds=1)
    spec = script("exit 7", restart=policy)
    async with node.agent(spec) as jobs:
        ended = await reaches(jobs, spec, JobState.FAILED)
        assert (ended.attempt, ended.exit_code) == (2, 7)
        await until(lambda: node.told(spec.id)[-1] == "failed")
    assert node.told(spec.id).count("running") == 2
