"""The way down and the bulk session, whole: `python -m tests.integration.commands_process PORT DIRECTORY`.

As a process it asks for commands to device `d` without end, at most once and at least once by turns, and is to be
killed. The payload of each that was taken is a line of the file `accepted`.
"""

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from agent.clock import system_clock
from agent.config.schema import MqttConfig
from agent.errors import RefusedError
from agent.mqtt.bridge import Bridge
from agent.mqtt.bulk import Bulk
from agent.mqtt.commands.down import Down, Known
from agent.mqtt.handled import Handled
from agent.mqtt.registry.registry import Registry
from agent.mqtt.rules.backlog import Backlog
from agent.mqtt.rules.held import Held
from agent.mqtt.rules.rules import Rules
from agent.orders import CommandOrder
from agent.runtime.notify import KeptSockets
from agent.spec import MqttView
from tests.fakes.mqtt_parts import FakeSink


@asynccontextmanager
async def running(
    port: int,
    directory: Path,
    sink: FakeSink,
    views: Callable[[], Iterable[MqttView] | None] = tuple,
) -> AsyncIterator[tuple[Down, Registry]]:
    config, clock, draw = MqttConfig(port=port), system_clock(), random.random
    backlog, handled, registry = Backlog(), Handled(directory / "handled"), Registry()
    rules = Rules(backlog)
    known = Known(device=registry.get, rule=rules.find, views=views)
    down = Down(config, directory, sink, clock, draw, known, "")
    held = Held(directory / "held.db", backlog, clock, lambda: "epoch")
    bridge = Bridge(down.record, registry, rules, held, handled, clock, draw)
    bulk = Bulk(config, "", bridge, handled, clock, draw, kept=KeptSockets(), save=lambda: None)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        below = group.create_task(down.run())
        above = group.create_task(bulk.run(stop, lambda: None))
        while not (bulk.connected and down.control.connected and down.commands._series):
            await asyncio.sleep(0.01)
        try:
            yield down, registry
        finally:
            stop.set()
            await above
            below.cancel()


async def main(port: int, directory: Path) -> None:
    accepted = os.open(directory / "accepted", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with running(port, directory, FakeSink()) as (down, registry):
        (directory / f"ready-{os.getpid()}").touch()
        number = 0
        while True:
            number += 1
            word = f"{'more' if number % 2 else 'once'}-{os.getpid()}-{number}"
            order = CommandOrder(
                "local:uid=0", "d", "open", word.encode(), 0.02, at_least_once=bool(number % 2), queue_seconds=600
            )
            if registry.get("d") is None:
                await asyncio.sleep(0.01)
                continue
            try:
                await down.commands.send(order)
            except RefusedError as why:
                if why.reason != "NO_ROOM":
                    raise
                await asyncio.sleep(0.01)
                continue
            os.write(accepted, f"\n{word}\n".encode())
            os.fdatasync(accepted)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
