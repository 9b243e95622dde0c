"""docs/DEVICES.md, its examples run as they stand there."""

import asyncio
import os
import random
import re
import signal
import subprocess
from pathlib import Path

import pytest

from agent.clock import system_clock
from agent.config.schema import MqttConfig
from agent.mqtt.service import MqttService
from agent.orders import CommandOrder
from tests.fakes.mqtt_parts import FakeSink
from tests.integration.mqtt_parts import TOP, Broker, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


async def test_the_examples_for_device_builders_work(tmp_path: Path) -> None:
    text = (TOP / "docs/DEVICES.md").read_text()
    blocks = [
        block for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if "edgectl" not in block
    ]
    assert len(blocks) == 3
    broker = Broker(tmp_path)
    for tool in ("mosquitto_pub", "mosquitto_sub"):
        (tmp_path / tool).write_text(f"-p {broker.port}\n")  # their own file of defaults: the port is not in the text
    sink, stop = FakeSink(), asyncio.Event()
    service = MqttService(MqttConfig(port=broker.port), tmp_path, sink, system_clock(), random.random)
    shell = None
    try:
        await broker.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(service.run(stop, lambda: None))
            await until(lambda: service.connected, "the bridge to connect")
            script = "set -e\n" + "\n".join(blocks) + "\nwait\n"
            env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
            shell = subprocess.Popen(["bash", "-c", script], env=env, start_new_session=True)
            await until(lambda: len(service.devices()) == 3, "three devices")
            assert all(device.online for device in service.devices())
            told = await service.send_command(CommandOrder("local:uid=0", "locker-1", "open", b"3", 10.0))
            assert told.payload == b"opened 3"
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait(20)
            shell = None
            await until(lambda: [e.kind for e in sink.events].count("device.offline") == 1, "the drone pad's last will")
            stop.set()
    finally:
        if shell is not None:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait(20)
        broker.purge()
    assert {"devices/fridge-1/temperature", "devices/fridge-1/door"} <= {m.topic for m in sink.messages}
