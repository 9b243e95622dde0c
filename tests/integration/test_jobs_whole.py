"""Jobs with everything: a real launcher in a store's own network, images, health, ports, disks, warm starts."""

import asyncio
import os
import shutil
import signal
import tarfile
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent.clock import Clock, system_clock
from agent.config.schema import ImagesConfig, JobsConfig
from agent.jobs.artifact import Artifacts
from agent.model import Event, Health, JobState
from agent.sandbox import Sandbox
from agent.spec import Desired, Egress, HealthCheck, JobKind, Limits, Network, Publish, Quota, Tenant
from tests.fakes.bare import jobs_service
from tests.fakes.jobs import ALWAYS, batch
from tests.launched import Launched, launched
from tests.layouts import Layout, entry, tar
from tests.netns import STORE_LAN, WORLD, Store, store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
BOX = (entry("bin/busybox", mode=0o755), Path("/usr/bin/busybox").read_bytes())
LINKS = [entry(f"bin/{name}", tarfile.SYMTYPE, linkname="busybox") for name in ("sh", "httpd", "sleep", "nc", "cat")]
ROOM = Quota(
    jobs=50, cpu_milli=100_000, memory_bytes=1 << 40, disk_bytes=1 << 40, network_bits_per_second=1 << 40,
    network_bytes_per_month=1 << 40, published_ports=9,
)  # fmt: skip
LIMITS = Limits(cpu_milli=500, memory_bytes=48 << 20, tmp_bytes=1 << 20)


@pytest.fixture(scope="module")
def shop() -> Iterator[Store]:
    with store() as one:
        yield one


@pytest.fixture(scope="module")
def launcher(shop: Store) -> Iterator[Launched]:
    with launched(netns=str(shop.home.path)) as one:
        one.end()
        one.extra_policy = f'image_dir = "{one.directory / "agent/images"}"'
        one.start()
        yield one


class Node:
    """What outlives the agent's process. `answers` is the DNS of its WAN."""

    def __init__(self, launcher: Launched) -> None:
        self.launcher, self.sandbox = launcher, Sandbox(launcher.socket)
        self.directory = launcher.directory / "agent"
        self.directory.mkdir(exist_ok=True)
        (self.directory / "jobs.db").unlink(missing_ok=True)
        self.records: list[object] = []
        self.answers: dict[str, list[str]] = {}
        self.boot_id = system_clock().boot_id

    async def record(self, bodies):
        self.records += bodies

    def resolve(self, name):
        if name not in self.answers:
            raise OSError("no WAN")
        return self.answers[name]

    def build(self, config):
        clock = Clock(self.boot_id)
        images = Artifacts(
            ImagesConfig(), self.directory, clock,
            installed=self.sandbox.images, remove=self.sandbox.remove_image, wanted=lambda: jobs.images(),
        )  # fmt: skip
        jobs = jobs_service(config, self.directory, self.sandbox, self.record, images=images, clock=clock)
        jobs._reaches._names._resolve = self.resolve
        return jobs

    @asynccontextmanager
    async def agent(self, *specs):
        jobs = self.build(JobsConfig(usage_interval_seconds=0.5, name_refresh_seconds=1.0, reserve_disk_bytes=0))
        stop = asyncio.Event()
        await jobs.apply(wanted(*specs))
        task = asyncio.create_task(jobs.run(stop, lambda: None))
        try:
            async with asyncio.timeout(30):
                await jobs.recovered.wait()
            yield jobs
        finally:
            stop.set()
            await asyncio.wait([task])
            task.result()


def wanted(*specs):
    return Desired(1, (Tenant("acme", quota=ROOM),), specs)


@pytest.fixture
async def node(launcher: Launched):
    one = Node(launcher)
    yield one
    async with one.agent() as jobs:
        await until(lambda: jobs.jobs() == ())
        async with asyncio.timeout(20):
            while await one.sandbox.list_runs() or await one.sandbox.disks():
                await asyncio.sleep(0.05)


def view(jobs, spec):
    return next(v for v in jobs.jobs() if v.id == spec.id)


async def until(condition, seconds=30.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def reaches(jobs, spec, *states):
    await until(lambda: view(jobs, spec).state in states or view(jobs, spec).state is JobState.REJECTED)
    found = view(jobs, spec)
    assert found.state in states, found
    return found


async def text(jobs, spec):
    return b"\n".join([line.text async for lines in jobs.logs(spec.id, 65536, False) for line in lines]).decode()


def imaged(node: Node, id_: str, script: str, **changes):
    """A service in an image that the agent has fetched."""
    image = Layout(node.directory / "images").image(tar([BOX, *LINKS]), config={"Cmd": ["/bin/sh"]})
    return batch(
        id_, image=image, kind=JobKind.SERVICE, restart=ALWAYS, command=("/bin/sh", "-c", script), limits=LIMITS,
        **changes,
    )  # fmt: skip


def greet(server):
    """Until it is closed."""
    with suppress(OSError):
        while True:
            one, _ = server.accept()
            one.sendall(b"reached\n")
            one.close()


PAGE = Network(publish=(Publish(20080, 8080),))
UP = HealthCheck(tcp_port=8080, interval_seconds=1, failures=2, start_seconds=5)


async def test_a_service_in_an_image_is_healthy_and_found_at_its_port(node: Node, shop: Store) -> None:
    web = imaged(node, "web", "echo hello > /work/index.html; exec httpd -f -p 8080 -h /work", network=PAGE, health=UP)
    async with node.agent(web) as jobs:
        await reaches(jobs, web, JobState.RUNNING)
        await until(lambda: view(jobs, web).health is Health.HEALTHY)
        with shop.lan.open() as client:
            client.connect((STORE_LAN, 20080))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while part := client.recv(4096):
                answer += part
        assert b"200 OK" in answer and answer.endswith(b"hello\n")
        jobs._reaches.cut(["web"])
        await until(lambda: not shop.lan.reaches(STORE_LAN, 20080, 0.2))
        await until(
            lambda: view(jobs, web).attempt >= 1 and any(getattr(r, "network_receive_bytes", 0) for r in node.records)
        )
    states = [r.state for r in node.records if isinstance(r, Event) and r.job == "web"]
    assert states[:4] == [JobState.PENDING, JobState.PREPARING, JobState.STARTING, JobState.RUNNING]


async def test_a_name_is_reached_and_followed_when_it_moves(node: Node, shop: Store) -> None:
    asks = "while :; do nc -w 1 api.example 90 </dev/null; cat /etc/hosts; sleep 0.3; done"
    spec = imaged(node, "asks", asks, network=Network(egress=(Egress(90, name="api.example"),)))
    with shop.world.listening(90) as server:
        threading.Thread(target=greet, args=(server,), daemon=True).start()
        async with node.agent(spec) as jobs:
            await reaches(jobs, spec, JobState.RUNNING)
            await asyncio.sleep(0.5)
            assert "reached" not in await text(jobs, spec), "not known while there is no WAN"
            node.answers["api.example"] = [WORLD]
            await until(lambda: jobs._reaches._names.known("api.example") == (WORLD,))
            async with asyncio.timeout(10):
                while "reached" not in await text(jobs, spec):
                    await asyncio.sleep(0.1)
            assert f"{WORLD}" in await text(jobs, spec)


async def test_a_cold_boot_without_wan_starts_what_was_desired_from_the_images_that_are_here(
    node: Node, launcher: Launched
) -> None:
    kept = replace(LIMITS, disk_bytes=8 << 20)
    spec = imaged(node, "keeps", "echo boot >> /work/diary; cat /work/diary; exec sleep 1000")
    spec = replace(spec, limits=kept)
    async with node.agent(spec) as jobs:
        first = await reaches(jobs, spec, JobState.RUNNING)
        async with asyncio.timeout(10):
            while await text(jobs, spec) != "boot":
                await asyncio.sleep(0.05)
    launcher.end(signal.SIGKILL)
    os.kill(first.pid, signal.SIGKILL)
    shutil.rmtree(node.directory / "images")  # nothing is left to fetch it from
    launcher.start()
    node.boot_id = "the boot after"
    async with node.agent(spec) as jobs:
        await until(lambda: view(jobs, spec).attempt == 2 and view(jobs, spec).state is JobState.RUNNING)
        async with asyncio.timeout(10):
            while await text(jobs, spec) != "boot\nboot":
                await asyncio.sleep(0.05)
    reasons = [r.reason for r in node.records if isinstance(r, Event) and r.job == "keeps"]
    assert "reboot" in reasons


async def test_the_next_generation_starts_where_it_was_held(node: Node) -> None:
    spec = batch(command=("/bin/sh", "-c", "echo out"), limits=LIMITS, warm=2)
    async with node.agent(spec) as jobs:
        await reaches(jobs, spec, JobState.FINISHED)

        async def held():
            return {state.run: state.pid for state in await node.sandbox.list_runs() if state.phase == "held"}

        async with asyncio.timeout(10):
            while set(await held()) != {"b.2.1", "b.3.1"}:
                await asyncio.sleep(0.02)
        pid = (await held())["b.2.1"]
        await jobs.apply(wanted(replace(spec, generation=2)))
        await until(lambda: view(jobs, spec).generation == 2 and view(jobs, spec).state is JobState.FINISHED)
        assert await text(jobs, spec) == "out"
        started = [r for r in node.records if isinstance(r, Event) and r.job == "b" and r.state is JobState.RUNNING]
        assert len(started) == 2 and pid
    async with node.agent(replace(spec, generation=2)) as jobs:  # and they outlive the agent
        async with asyncio.timeout(10):
            while set(await held()) != {"b.3.1", "b.4.1"}:
                await asyncio.sleep(0.02)
