"""The bulk session alone, as a process to be killed: `python -m tests.integration.bridge_process PORT DIRECTORY`."""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.clock import system_clock
from agent.config.schema import MqttConfig
from agent.model import Body, DeviceMessage
from agent.mqtt.bridge import Bridge
from agent.mqtt.bulk import Bulk
from agent.mqtt.handled import Handled
from agent.mqtt.registry.registry import Registry
from agent.mqtt.rules.backlog import Backlog
from agent.mqtt.rules.held import Held
from agent.mqtt.rules.rules import Rules
from agent.runtime.notify import KeptSockets, Notifier


async def main(port: int, directory: Path) -> None:
    # Begins with a newline: a line that a kill had cut must not swallow the next.
    fd = os.open(directory / "records", os.O_WRONLY | os.O_APPEND)

    async def record(bodies: Sequence[Body]) -> None:
        lines = [
            json.dumps([body.topic, body.payload.decode(), body.packet_id, body.redelivered])
            for body in bodies
            if isinstance(body, DeviceMessage)
        ]
        await asyncio.to_thread(write, ("\n" + "\n".join(lines) + "\n").encode())

    def write(data: bytes) -> None:
        os.write(fd, data)
        os.fdatasync(fd)

    kept = KeptSockets.from_environ(Notifier.from_environ(os.environ), os.environ, os.getpid())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    clock, draw = system_clock(), random.random
    backlog, handled = Backlog(), Handled(directory / "handled")
    held = Held(directory / "held.db", backlog, clock, lambda: "epoch")
    bridge = Bridge(record, Registry(), Rules(backlog), held, handled, clock, draw)
    bulk = Bulk(MqttConfig(port=port), "", bridge, handled, clock, draw, kept=kept, save=lambda: None)
    async with asyncio.TaskGroup() as group:
        group.create_task(bulk.run(stop, lambda: None))
        while not bulk.connected:
            await asyncio.sleep(0.01)
        (directory / f"ready-{os.getpid()}").touch()


asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
