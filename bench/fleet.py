"""What a large store costs: 20,000 devices registered and 5,000 of them connected, in memory and in time to be asked.

A whole store of real parts; the devices are sockets that speak MQTT 3.1.1, each with its own password, each publishing
once and then holding its connection. The peer is the same agent before it knew any device.
"""

import argparse
import asyncio
import csv
import resource
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import grpc

from bench.footprint import connected, memory, milliseconds, production
from bench.table import Row, publish
from storeedge.v1.agent_pb2 import ListDevicesRequest
from storeedge.v1.agent_pb2_grpc import AgentServiceStub
from tests.stack import Stack, until

REGISTERED, CONNECTED = 20_000, 5_000
ZONES = 20
ASKED = 9
SETTLE_SECONDS = 5.0
_AT_ONCE = 50


def word(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def packet(kind: int, body: bytes) -> bytes:
    length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 0x7F | 0x80, len(body) >> 7])
    return bytes([kind]) + length + body


def write_list(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "zone", "class", "protocol", "group", "silent_after", "credential"))
        for number in range(REGISTERED):
            credential = "password" if number < CONNECTED else "none"
            writer.writerow((f"device-{number:05}", f"zone-{number % ZONES}", "sensor", "", "", 3600, credential))
    path.chmod(0o644)


def passwords(stack: Stack, path: Path) -> dict[str, str]:
    told = stack.agent_cli("device", "import", str(path))
    return {line["id"]: line["password"] for line in csv.DictReader(told.splitlines()) if line["password"]}


async def connect(port: int, device: str, password: str) -> asyncio.StreamWriter:
    """Connected, subscribed to its commands, and one message acknowledged."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(packet(0x10, word("MQTT") + b"\4\xc2\0\0" + word(device) + word(device) + word(password)))
    assert (await reader.readexactly(4))[3] == 0, f"{device} was refused"
    writer.write(packet(0x82, b"\0\1" + word(f"devices/{device}/cmd/+") + b"\1"))
    assert (await reader.readexactly(5))[4] == 1, f"{device} may not hear its commands"
    writer.write(packet(0x32, word(f"devices/{device}/temperature") + b"\0\2" + b'{"celsius": 4.2}'))
    await reader.readexactly(4)
    return writer


async def fleet(port: int, credentials: dict[str, str], ready: asyncio.Event, done: asyncio.Event) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(device: str, password: str) -> asyncio.StreamWriter:
        async with gate:
            return await connect(port, device, password)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(*each)) for each in credentials.items()]
    ready.set()
    await done.wait()
    for task in tasks:
        task.result().close()


def ask(stub: AgentServiceStub, request: ListDevicesRequest) -> list[float]:
    stub.ListDevices(request, timeout=60)
    return [milliseconds(lambda: stub.ListDevices(request, timeout=60)) for _ in range(ASKED)]


def every_page(stub: AgentServiceStub) -> int:
    found, after, more = 0, "", True
    while more:
        reply = stub.ListDevices(ListDevicesRequest(after=after), timeout=60)
        found, more = found + len(reply.devices), reply.more
        after = reply.devices[-1].id if reply.devices else after
    return found


async def measure(stack: Stack) -> Sequence[Row]:
    channel = grpc.insecure_channel(f"unix:{stack.agent_run}/agent.sock")
    stub = AgentServiceStub(channel)
    page = ListDevicesRequest(limit=1000)
    before, idle = used(stack), ask(stub, page)
    path = stack.dir / "devices.csv"
    write_list(path)
    began = time.monotonic()
    credentials = await asyncio.to_thread(passwords, stack, path)
    imported = time.monotonic() - began
    fresh = used(stack)[0]
    began = time.monotonic()
    await asyncio.to_thread(restart, stack)
    in_force = time.monotonic() - began - SETTLE_SECONDS
    registered = used(stack)
    ready, done = asyncio.Event(), asyncio.Event()
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(fleet(stack.mqtt_port, credentials, ready, done))
        await ready.wait()
        joined = time.monotonic() - began
        await asyncio.to_thread(until, lambda: online(stub) >= CONNECTED, what="all of them online", seconds=60)
        now = used(stack)
        asked = {
            "a page of 1,000": ask(stub, page),
            "a page of one zone": ask(stub, ListDevicesRequest(limit=1000, zone="zone-7")),
            "one device": ask(stub, ListDevicesRequest(device="device-00007")),
            "the silent": ask(stub, ListDevicesRequest(limit=1000, silent=True)),
        }
        assert every_page(stub) == REGISTERED
        done.set()
    channel.close()
    print(
        f"{REGISTERED} registered in {imported:.1f} s, broker and agent started anew with them in {in_force:.1f} s,"
        f" {CONNECTED} connected in {joined:.1f} s"
    )
    nobody = "the same without devices"
    return [
        Row("agent, 20,000 just imported", "MB", [fresh], nobody, [before[0]]),
        Row("agent, 20,000 registered", "MB", [registered[0]], nobody, [before[0]]),
        Row("agent, and 5,000 connected", "MB", [now[0]], nobody, [before[0]]),
        Row("broker, 20,000 registered", "MB", [registered[1]], nobody, [before[1]]),
        Row("broker, and 5,000 connected", "MB", [now[1]], nobody, [before[1]]),
        *(Row(f"ask for {what}", "ms", times, nobody, idle) for what, times in asked.items()),
    ]


def used(stack: Stack) -> tuple[float, float]:
    """MB of the agent, which shares pages with the launcher, and of the broker."""
    agent, _, broker = memory([stack.parts[name].pid for name in ("agent", "launcher", "mosquitto")])
    return agent, broker


def restart(stack: Stack) -> None:
    """The broker as docs/DEVICES.md says after a big import; the agent to see what it needs without the import's."""
    for name in ("agent", "mosquitto"):
        stack.parts[name].stop()
    stack.start_broker()
    stack.start_agent()
    until(lambda: connected(stack), what="the session")
    time.sleep(SETTLE_SECONDS)


def online(stub: AgentServiceStub) -> int:
    return stub.ListDevices(ListDevicesRequest(limit=1), timeout=60).online


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as exits:
        stack = Stack()
        exits.callback(stack.close)
        production(stack.config)
        stack.up()
        until(lambda: connected(stack), what="the session")
        time.sleep(SETTLE_SECONDS)
        publish("fleet", asyncio.run(measure(stack)), args.json)


if __name__ == "__main__":
    main()
