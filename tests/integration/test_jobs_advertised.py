"""A vehicle on the store's network finds a published port by DNS-SD, with real multicast between namespaces."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager

import pytest

from agent.jobs.advertise import _CHILD, Advertiser
from agent.spec import Network, Publish
from tests.fakes.jobs import running, service
from tests.netns import STORE_LAN, Store, store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
TYPE = "_drone._storeedge._tcp.local."
JOB = running(service("dock", network=Network(publish=(Publish(20001, 8080, "tcp", "drone", {"path": "/v1"}),))))

# Prints a line for each service that comes or goes.
BROWSER = """
import asyncio, json, socket, sys
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

async def main():
    azc = AsyncZeroconf(interfaces=[sys.argv[2]], ip_version=IPVersion.V4Only)
    seen = asyncio.Queue()
    class Listener:
        def add_service(self, zc, type_, name):
            seen.put_nowait(("found", name))
        def remove_service(self, zc, type_, name):
            seen.put_nowait(("gone", name))
        def update_service(self, zc, type_, name):
            pass
    browser = AsyncServiceBrowser(azc.zeroconf, sys.argv[1], listener=Listener())
    print(json.dumps(["browsing"]), flush=True)
    while True:
        what, name = await seen.get()
        info = AsyncServiceInfo(sys.argv[1], name)
        known = what == "found" and await info.async_request(azc.zeroconf, 3000)
        details = [info.parsed_addresses(), info.port, {k.decode(): v.decode() for k, v in info.properties.items()}]
        print(json.dumps([what, name, *(details if known else ())]), flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[Store]:
    with store() as one:
        yield one


@asynccontextmanager
async def browsing(shop: Store):
    browser = await asyncio.create_subprocess_exec(
        "nsenter", f"--net={shop.lan.path}", "--", sys.executable, "-I", "-c", BROWSER, TYPE, "192.168.50.2",
        stdout=subprocess.PIPE,
    )  # fmt: skip

    async def said():
        async with asyncio.timeout(15):
            return json.loads(await browser.stdout.readline())

    try:
        assert await said() == ["browsing"]
        yield said
    finally:
        browser.kill()
        await browser.wait()
        browser._transport.close()


async def test_a_vehicle_finds_the_port_and_sees_it_go(shop: Store) -> None:
    advertiser = Advertiser("store-7", (), ("nsenter", f"--net={shop.home.path}", "--", *_CHILD))
    task = asyncio.create_task(advertiser.run())
    try:
        async with browsing(shop) as said:
            advertiser.follow("dock", JOB)
            found = await said()
            assert found == ["found", f"dock on store-7.{TYPE}", [STORE_LAN], 20001, {"path": "/v1"}]
            advertiser.follow("dock", None)
            assert await said() == ["gone", f"dock on store-7.{TYPE}"]
    finally:
        task.cancel()
        await asyncio.wait([task])
