"""Networks of real runs: launcher, conmon, an OCI runtime and their jobs, in a store's namespaces."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from agent.launcher.protocol import CheckRequest, Destination, JobRequest, NetworkRequest, PublishedPort, Reach
from agent.sandbox import Sandbox
from tests.launched import Launched, launched
from tests.netns import STORE_LAN, WORLD, WORLD_TOO, Store, store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
MIB = 1 << 20
ASKED = NetworkRequest(
    Reach((Destination(f"{WORLD}/32", 90, "tcp"),), {"api.example": (WORLD,)}),
    publish=(PublishedPort(20080, 8080, "tcp"),),
    peers=True,
)
# Prints what becomes of a connection to each "host/port" of its command line.
TRY = """
import socket, sys
for word in sys.argv[1:]:
    host, port = word.split("/")
    try:
        socket.create_connection((host, int(port)), 0.4).close()
        print("open", word)
    except OSError as error:
        print("shut", word)
for family, protocol in ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_INET6, 58), (socket.AF_PACKET, 3)):
    try:
        socket.socket(family, socket.SOCK_RAW, protocol)
        print("raw socket made")
    except OSError:
        pass
print("done", flush=True)
"""
SERVE = """
import socket
server = socket.create_server(("0.0.0.0", 8080))
print("serving", flush=True)
while True:
    one, who = server.accept()
    one.sendall(f"{who[0]} {one.recv(100).decode()}".encode())
    one.close()
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[Store]:
    with store() as one:
        yield one


@pytest.fixture(scope="module")
def launcher(shop: Store) -> Iterator[Launched]:
    with launched(netns=str(shop.home.path)) as one:
        yield one


@pytest.fixture
async def sandbox(launcher: Launched) -> AsyncIterator[Sandbox]:
    one = Sandbox(launcher.socket)
    yield one
    for state in await one.list_runs():  # of a test that failed
        await removed(one, state.run)


def job(name: str, program: str, *words: str, network: NetworkRequest = ASKED, tenant: str = "acme") -> JobRequest:
    return JobRequest(
        run=f"{tenant}.{name}.1", tenant=tenant, job=name, image="host",
        command=("/usr/bin/python3", "-c", program, *words), cpu_milli=1000, memory_bytes=64 * MIB, pids=64,
        log_bytes=65536, tmp_bytes=4 * MIB, network=network,
    )  # fmt: skip


async def said(sandbox: Sandbox, run: str, word: str) -> str:
    async with asyncio.timeout(20):
        while True:
            with os.fdopen(await sandbox.open_log(run)) as log:
                text = log.read()
            if word in text:
                return text
            await asyncio.sleep(0.02)


async def removed(sandbox: Sandbox, run: str) -> None:
    await sandbox.signal(run, "KILL")
    async with asyncio.timeout(20):
        while (await sandbox.state(run)).phase == "running":
            await asyncio.sleep(0.02)
    await sandbox.remove(run)


def answer(shop: Store) -> str:
    with shop.lan.open() as client:
        client.connect((STORE_LAN, 20080))
        client.send(b"hello")
        return client.recv(100).decode()


async def test_a_job_reaches_what_it_asked_for_by_name_and_nothing_else(shop: Store, sandbox: Sandbox) -> None:
    targets = [f"{host}/{port}" for host in (WORLD, WORLD_TOO, STORE_LAN, "api.example") for port in (90, 91)]
    with shop.world.listening(90), shop.world.listening(91), shop.home.listening(90), shop.home.listening(91):
        await sandbox.start(job("till", TRY, *targets))
        text = await said(sandbox, "acme.till.1", "done")
    assert {line.split("open ")[1] for line in text.splitlines() if "open " in line} == {
        f"{WORLD}/90",
        "api.example/90",
    }
    assert "socket made" not in text
    await removed(sandbox, "acme.till.1")


@pytest.mark.parametrize("runtime", ["runc", "crun"])
async def test_a_check_by_command_is_made_inside_the_network(shop: Store, runtime: str) -> None:
    facts = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status"
    script = f"{facts}; cat /proc/self/oom_score_adj; grep -c eth0 /proc/net/dev"
    asked = CheckRequest(command=("/bin/sh", "-c", f"{script}; exit 9"))
    with launched(runtime, netns=str(shop.home.path)) as one:
        here = Sandbox(one.socket)
        await here.start(replace(job("till", SERVE), check=asked))
        await said(here, "acme.till.1", "serving")
        for _ in range(2):
            words = (await here.check("acme.till.1")).message.split()
            assert words[3:] == ["CapEff:", "0000000000000000", "NoNewPrivs:", "1", "Seccomp:", "2", "500", "1"], words
        await removed(here, "acme.till.1")


async def test_a_published_job_is_billed_survives_its_launcher_and_leaves_nothing(
    shop: Store, sandbox: Sandbox, launcher: Launched
) -> None:
    before = _links(shop)
    await sandbox.start(job("till", SERVE))
    await said(sandbox, "acme.till.1", "serving")
    assert answer(shop) == "192.168.50.2 hello"
    launcher.end(signal.SIGKILL)
    assert answer(shop) == "192.168.50.2 hello"
    launcher.start()
    assert answer(shop) == "192.168.50.2 hello"
    used = await sandbox.usage("acme.till.1")
    assert used.network_receive_bytes > 3 * 5
    assert used.network_transmit_bytes > 3 * 18
    await sandbox.reach("acme.till.1", replace(ASKED.reach, cut=True))
    assert not shop.lan.reaches(STORE_LAN, 20080)
    await sandbox.signal("acme.till.1", "KILL")
    async with asyncio.timeout(20):
        while (await sandbox.state("acme.till.1")).phase == "running":
            await asyncio.sleep(0.02)
    last = await sandbox.usage("acme.till.1")
    assert last.network_transmit_bytes >= used.network_transmit_bytes  # after the end too
    await sandbox.remove("acme.till.1")
    assert _links(shop) == before
    assert [line for line in shop.rules().splitlines() if "chain outward_" in line] == []


def _links(shop: Store) -> list[str]:
    return [line.split(":")[1] for line in shop.home.run("ip", "-o", "link").splitlines()]


async def test_jobs_of_a_tenant_meet_by_name_and_another_tenants_job_does_not(shop: Store, sandbox: Sandbox) -> None:
    await sandbox.start(job("stock", SERVE, network=NetworkRequest(peers=True)))
    await said(sandbox, "acme.stock.1", "serving")
    await sandbox.start(job("till", TRY, "stock/8080", network=NetworkRequest(peers=True)))
    everywhere = NetworkRequest(Reach((Destination("0.0.0.0/0", 8080, "tcp"),)), peers=True)
    targets = ("stock/8080", "10.222.0.2/8080", "10.222.0.1/8080")
    await sandbox.start(job("spy", TRY, *targets, network=everywhere, tenant="rival"))
    assert "open stock/8080" in await said(sandbox, "acme.till.1", "done")
    text = await said(sandbox, "rival.spy.1", "done")
    assert "open" not in text
    for run in ("acme.stock.1", "acme.till.1", "rival.spy.1"):
        await removed(sandbox, run)
