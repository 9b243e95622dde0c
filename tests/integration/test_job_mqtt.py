"""Jobs at the store's broker: by a socket in a directory that is theirs to see, from their start to their end."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.clock import system_clock
from agent.config.schema import JobsConfig, MqttConfig
from agent.errors import AwayError
from agent.jobs.grants import Broker
from agent.jobs.live import live
from agent.jobs.runner import JobsService
from agent.model import Credential, JobState, JobView
from agent.mqtt import tenants
from agent.mqtt.access import policy, secret
from agent.mqtt.access.accounts import Account
from agent.mqtt.control import Control
from agent.mqtt.gate import Gate
from agent.sandbox import Sandbox
from agent.spec import Desired, JobKind, JobSpec, Limits, MqttGrant
from tests.fakes.bare import jobs_service
from tests.fakes.jobs import NEVER, ROOMY, desired
from tests.integration.tenant_parts import NOT_AUTHORIZED, TenantBroker, TenantClient, access
from tests.launched import Launched, launched

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
SECRET = b"s" * 32
log = logging.getLogger(__name__)
LOGIN = '--unix "$EDGE_MQTT_SOCKET" -u "$(cat /run/secrets/mqtt_username)" -P "$(cat /run/secrets/mqtt_password)" -V 5'
NOBODY = access(SECRET, [], [])  # no runs yet: who may come in then, the agent tells the broker
SEES = (MqttGrant(device="temp-1", channel="celsius"),)


@pytest.fixture(scope="module")
def broker() -> Iterator[TenantBroker]:
    one = TenantBroker()
    try:
        one.start(NOBODY)
        yield one
    finally:
        one.purge()


@pytest.fixture(params=["runc", "crun"], scope="module")
def launcher(request: pytest.FixtureRequest, broker: TenantBroker) -> Iterator[Launched]:
    with launched(request.param, extra_policy=f'mqtt_dir = "{broker.jobs}"\n') as one:
        yield one


async def unheard(bodies: object) -> None:
    """Nobody reads records here."""


class Node:
    """The agent's halves that have to do with it: jobs, and the gate with its connection to the broker."""

    def __init__(self, launcher: Launched, broker: TenantBroker, directory: Path) -> None:
        self.sandbox = Sandbox(launcher.socket)
        self._port, self.directory = broker.port, directory
        self.gate: Gate
        self.commands: Control

    @asynccontextmanager
    async def agent(self, *specs: JobSpec) -> AsyncIterator[JobsService]:
        clock = system_clock()
        self.gate = gate = Gate(SECRET, self.directory, self.directory, unheard, clock, lambda _: True)

        def connection(user: str) -> Control:
            return Control(MqttConfig(port=self._port), user, gate.password(user), clock, lambda: 0.01)

        control, self.commands = connection(policy.CONTROL), connection(policy.COMMANDS)
        gate.attach(control, self.commands, lambda: connection(policy.RETAINED))
        await gate.open()
        jobs = jobs_service(
            JobsConfig(reserve_cpu_milli=0), self.directory, self.sandbox, unheard,
            broker=Broker(gate.views.tell, gate.views.secrets),
        )  # fmt: skip
        stop = asyncio.Event()
        await jobs.apply(wanted(*specs))
        others = [asyncio.create_task(work) for work in (control.run(), self.commands.run(), gate.run())]
        task = asyncio.create_task(jobs.run(stop, lambda: None))
        try:
            async with asyncio.timeout(30):
                await jobs.recovered.wait()
            yield jobs
        finally:
            stop.set()
            await asyncio.wait([task])
            for other in others:
                other.cancel()
            await asyncio.wait(others)
            await gate.close()


def wanted(*specs: JobSpec) -> Desired:
    return desired(*specs, quota=replace(ROOMY, mqtt_topics=8))


@pytest.fixture
async def node(launcher: Launched, broker: TenantBroker, tmp_path: Path) -> AsyncIterator[Node]:
    one = Node(launcher, broker, tmp_path)
    yield one
    async with one.agent() as jobs:
        await until(lambda: jobs.jobs() == ())
    async with asyncio.timeout(20):
        while await one.sandbox.list_runs():
            await asyncio.sleep(0.05)


_count = iter(range(1000))


def script(text: str, *grants: MqttGrant) -> JobSpec:
    return JobSpec(
        id=f"m-{next(_count)}",
        generation=1,
        tenant="acme",
        kind=JobKind.BATCH,
        image="host",
        command=("/bin/sh", "-c", text),
        limits=Limits(cpu_milli=1000, memory_bytes=48 << 20, tmp_bytes=1 << 20),
        restart=NEVER,
        mqtt=grants,
    )


async def until(condition, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def reaches(jobs: JobsService, spec: JobSpec, *states: JobState) -> JobView:
    def found() -> list[JobView]:
        return [view for view in jobs.jobs() if view.id == spec.id and view.state in states]

    await until(lambda: bool(found()))
    return found()[0]


async def text(jobs: JobsService, spec: JobSpec) -> str:
    return b"\n".join([line.text async for lines in jobs.logs(spec.id, 65536, False) for line in lines]).decode()


async def said(jobs: JobsService, spec: JobSpec, words: str) -> None:
    async with asyncio.timeout(20):
        while words not in await text(jobs, spec):
            await asyncio.sleep(0.02)


def password(spec: JobSpec) -> str:
    return tenants.password(SECRET, spec.tenant, f"{spec.id}.1.1")


def user(spec: JobSpec) -> str:
    return f"job:{spec.id}.1.1"


async def test_a_granted_job_has_the_socket_and_nothing_else_of_the_host_there(node: Node) -> None:
    granted = script(
        "ls -A /run/mqtt; touch /run/mqtt/x || echo cannot write; rm -f /run/mqtt/broker.sock || echo cannot remove;"
        "mknod /run/mqtt/n p || echo cannot make; stat -c %a%U /run/mqtt/broker.sock; cat /proc/net/dev | wc -l;"
        "ls /run/mqtt/..; grep ' /run/mqtt ' /proc/self/mounts",
        *SEES,
    )
    bare = script("ls /run; echo socket=$EDGE_MQTT_SOCKET; ls /run/mqtt")
    async with node.agent(granted, bare) as jobs:
        await reaches(jobs, granted, JobState.FINISHED)
        await reaches(jobs, bare, JobState.FAILED)
        lines = (await text(jobs, granted)).splitlines()
        assert lines[0] == "broker.sock"
        assert {"cannot write", "cannot remove", "cannot make", "666nobody", "3"} <= set(lines)
        assert lines[-3:-1] == ["mqtt", "secrets"]
        options = lines[-1].split()[3].split(",")
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(options)
        said_bare = await text(jobs, bare)
        assert "socket=\n" in said_bare and "No such file" in said_bare and "broker" not in said_bare


async def test_a_job_sees_what_it_was_granted_and_leaves_words_for_its_own_tenant(
    node: Node, broker: TenantBroker
) -> None:
    reads = script(f"mosquitto_sub {LOGIN} -t devices/temp-1/celsius -t tenants/acme/note -C 2 -W 20", *SEES)
    writes = script(f"mosquitto_pub {LOGIN} -q 1 -t tenants/acme/note -m hello", *SEES)
    stranger = script(f"mosquitto_sub {LOGIN} -t 'devices/#' -E", *SEES)
    async with node.agent(reads, stranger) as jobs:
        await reaches(jobs, reads, JobState.RUNNING)
        await node.gate.accounts.put([Account("temp-1", credential=Credential.PASSWORD)])
        await node.gate.apply_access()
        device = TenantClient(broker, "temp-1", secret.password(SECRET, "device", "temp-1", 0))
        try:
            while device.answer(device.publish("devices/temp-1/celsius", b"21.5")) == 16:  # nobody subscribes yet
                await asyncio.sleep(0.02)
            await jobs.apply(wanted(reads, stranger, writes))
            await reaches(jobs, reads, JobState.FINISHED)
            assert (await text(jobs, reads)).split() == ["21.5", "hello"]
            await reaches(jobs, stranger, JobState.FINISHED, JobState.FAILED)
            assert "denied" in await text(jobs, stranger)
        finally:
            device.close()


async def test_a_job_finds_its_devices_in_a_list_that_goes_with_it(node: Node, broker: TenantBroker) -> None:
    shelf = MqttGrant(zone="shelf", channel="celsius", commands=("blink",))
    topic = "tenants/acme/jobs/+/devices"
    first = script(f"mosquitto_sub {LOGIN} -t '{topic}' -C 2 -W 20; sleep 60", shelf)
    after = script(f"mosquitto_sub {LOGIN} -t '{topic}' -W 1; true", *SEES)
    async with node.agent(first) as jobs:
        await said(jobs, first, "[]")
        await node.gate.accounts.put([Account("temp-9", "shelf", "thermometer")])
        await said(jobs, first, '[{"id":"temp-9","registered":true,"zone":"shelf","class":"thermometer",')
        await jobs.stop_job(first.id)
        await reaches(jobs, first, JobState.FAILED)
        await jobs.apply(wanted(first, after))
        await reaches(jobs, after, JobState.FINISHED)
        assert "temp-9" not in await text(jobs, after) and "temp-1" in await text(jobs, after)


async def test_a_broker_that_starts_anew_is_found_by_runs_that_are_there(node: Node, broker: TenantBroker) -> None:
    waits = script(f"mosquitto_sub {LOGIN} -t tenants/acme/go -C 1 -W 30 && echo found", *SEES)
    async with node.agent(waits) as jobs:
        await until(lambda: f" as {user(waits)} " in broker.log())
        broker.end(signal.SIGKILL)
        # All that it was told of runs is lost: it starts from the agent's book, as `edge-agent broker prepare` does.
        broker.start(access(SECRET, [], live(node.directory / "jobs.db", system_clock().boot_id)))
        async with asyncio.timeout(20):
            while not [view for view in jobs.jobs() if view.state is JobState.FINISHED]:
                with contextlib.suppress(AwayError):
                    await node.commands.publish("tenants/acme/go", b"now")
                await asyncio.sleep(0.05)
        assert "found" in await text(jobs, waits)


async def test_the_moment_a_run_ends_its_credential_is_gone_whoever_has_it(node: Node, broker: TenantBroker) -> None:
    """A thief who has the run's password, at the socket, is thrown out and finds the door shut."""
    spec = script("sleep 60", *SEES)
    async with node.agent(spec) as jobs:
        await reaches(jobs, spec, JobState.RUNNING)
        thief = TenantClient(broker, user(spec), password(spec))
        try:
            assert thief.refused == 0 and thief.answer(thief.subscribe("devices/temp-1/celsius")) == 1
            await jobs.stop_job(spec.id)
            ended = await reaches(jobs, spec, JobState.FAILED)
            assert await asyncio.to_thread(thief.ended.wait, 5)
            after = thief.ended_at - ended.ended_unix_nano / 1e9
            log.info("revoked %.0f ms after the end of the run", after * 1000)
            assert after < 1.0
        finally:
            thief.close()
        again = TenantClient(broker, user(spec), password(spec))
        again.close()
        assert again.refused == NOT_AUTHORIZED


async def test_a_run_that_ended_while_the_agent_was_away_has_nothing_once_it_is_back(
    node: Node, broker: TenantBroker
) -> None:
    spec = script("sleep 60", *SEES)
    async with node.agent(spec) as jobs:
        await reaches(jobs, spec, JobState.RUNNING)
    thief = TenantClient(broker, user(spec), password(spec))
    try:
        assert thief.refused == 0  # the agent's stop took nothing away
        began = time.monotonic()
        async with node.agent(spec) as jobs:
            await reaches(jobs, spec, JobState.RUNNING)
            assert not thief.ended.is_set()  # nor did its start
        await node.sandbox.signal(f"{spec.id}.1.1", "KILL")
        async with node.agent(spec) as jobs:
            await reaches(jobs, spec, JobState.FAILED, JobState.LOST)
            assert await asyncio.to_thread(thief.ended.wait, 5), time.monotonic() - began
    finally:
        thief.close()


async def test_without_the_brokers_directory_a_start_waits_for_it(node: Node, broker: TenantBroker) -> None:
    aside = broker.directory / "aside"
    spec = script("ls /run/mqtt", *SEES)
    async with node.agent() as jobs:
        broker.jobs.rename(aside)
        try:
            await jobs.apply(wanted(spec))
            await reaches(jobs, spec, JobState.STARTING)
            await asyncio.sleep(0.3)
            await reaches(jobs, spec, JobState.STARTING)
        finally:
            aside.rename(broker.jobs)
        await reaches(jobs, spec, JobState.FINISHED)
