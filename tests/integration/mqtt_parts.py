"""A real mosquitto on a port of its own, and devices that talk to it."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.notified import Notified

TOP = Path(__file__).parents[2]
MOSQUITTO = "/usr/sbin/mosquitto"
# Each turn of mosquitto's loop in which something changed ends with all queues written and fsynced.
SAVE_EVERY_TURN = "autosave_interval 1\nautosave_on_changes true"


async def until(done: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not done():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


def _shipped_bounds() -> str:
    """What follows the listeners in systemd/mosquitto.conf: queues, sizes, saving."""
    text = (TOP / "systemd/mosquitto.conf").read_text()
    return text[text.index("max_queued_messages ") :]


class Broker:
    """mosquitto as shipped but for who may do what: it is open to anybody (that is test_broker_real's, and others').

    It keeps what it has; `end` and `start` it as often as you like.
    """

    def __init__(self, directory: Path, settings: str = "") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        # Below pytest's directory only its owner may search; mosquitto gives up root.
        self._conf = directory / "mosquitto.conf"
        data = Path(f"/var/tmp/mosquitto-{self.port}-{os.getpid()}")
        data.mkdir()
        self._data = data
        if os.geteuid() == 0:
            shutil.chown(data, "mosquitto")
        self._conf.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\nset_tcp_nodelay true\n"
            f"persistence_location {data}/\n{_shipped_bounds()}{settings}\n"
        )
        self._log = (directory / "mosquitto.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._process = subprocess.Popen([MOSQUITTO, "-c", self._conf], stdout=self._log, stderr=self._log)
        await until(self._listens, "mosquitto to listen")

    def save(self) -> None:
        """Have its state written, as the agent does with a new session."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)

    def end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(20)
        self._process = None

    def forget(self) -> None:
        """Lose the state file. Only while it is stopped."""
        (self._data / "mosquitto.db").unlink()

    def purge(self) -> None:
        if self._process is not None:
            self.end(signal.SIGKILL)
        self._log.close()
        shutil.rmtree(self._data)

    def publish(self, topic: str, *words: str, payload: bytes | None = None) -> None:
        """mosquitto_pub, QoS 1; returns when the broker has it."""
        argv = ["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t", topic, *words]
        subprocess.run([*argv, *([] if payload is None else ["-s"])], input=payload, check=True, timeout=60)

    def stream(self, topic: str, first: int, last: int) -> "subprocess.Popen[bytes]":
        """mosquitto_pub -l in the background: the numbers first..last, QoS 1, as fast as the broker takes them."""
        lines = subprocess.Popen(["seq", str(first), str(last)], stdout=subprocess.PIPE)
        argv = ["mosquitto_pub", "-p", str(self.port), "-V", "5", "-q", "1", "-t", topic, "-l"]
        streaming = subprocess.Popen(argv, stdin=lines.stdout)
        assert lines.stdout is not None
        lines.stdout.close()
        lines.wait(20)
        return streaming

    def _listens(self) -> bool:
        assert self._process is not None and self._process.poll() is None, "mosquitto ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


class Device:
    """A device with paho: answers commands, and counts what the broker acknowledged to it."""

    def __init__(self, broker: Broker, name: str, *, version: int) -> None:
        self.name = name
        self.commands: list[bytes] = []
        self._ready = threading.Event()
        # Without a lock: paho's thread calls back while it holds its own, and an ack may come before publish returns.
        self._sent: dict[int, int] = {}
        self._acknowledged: set[int] = set()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=version)
        self._client.on_connect = lambda client, *_: client.subscribe(f"devices/{name}/cmd/+", 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._answer
        self._client.on_publish = lambda _c, _u, mid, *_: self._acknowledged.add(mid)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        assert self._ready.wait(10)

    def publish(self, channel: str, payload: str) -> None:
        self._client.publish(f"devices/{self.name}/{channel}", payload, 1)

    def count(self, channel: str, number: int, in_flight: int = 20) -> bool:
        """Publish `number`; False when too many are under way."""
        if len(self._sent) - len(self._acknowledged) >= in_flight:
            return False
        info = self._client.publish(f"devices/{self.name}/{channel}", str(number), 1)
        self._sent[info.mid] = number
        return True

    @property
    def acknowledged(self) -> set[int]:
        """Numbers that the broker has taken."""
        return {self._sent[mid] for mid in self._acknowledged.copy() if mid in self._sent}

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _answer(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        self.commands.append(message.payload)
        asked = message.properties
        if asked is None:
            client.publish(f"{message.topic}/ack", b"done " + message.payload, 1)
            return
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = asked.CorrelationData
        client.publish(asked.ResponseTopic, b"done " + message.payload, 1, properties=properties)


async def count_until_killed(broker: Broker) -> set[int]:
    """Kill it after about 400 messages of a device; the numbers that it had acknowledged."""
    counter = Device(broker, "d", version=paho.MQTTv5)
    number = 1
    while len(counter.acknowledged) < 400:
        if counter.count("count", number):
            number += 1
        else:
            await asyncio.sleep(0.001)
    broker.end(signal.SIGKILL)
    counter.close()
    return counter.acknowledged


class BridgeProcess:
    """The bridge in a process of its own (bridge_process.py), whose records are lines of a file."""

    def __init__(self, port: int, directory: Path, notified: Notified | None = None) -> None:
        """`notified` keeps its connection while it is dead."""
        self._port, self._directory, self._notified = port, directory, notified
        self._records = directory / "records"
        self._records.touch()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        argv = [sys.executable, "-m", "tests.integration.bridge_process", str(self._port), str(self._directory)]
        env = {**os.environ, "PYTHONPATH": f"{TOP}:{TOP / 'proto'}"}
        fds: tuple[int, ...] = ()
        if self._notified is not None:
            env["NOTIFY_SOCKET"] = str(self._notified.path)
            argv, fds = self._notified.start(argv)
        self._process = subprocess.Popen(argv, cwd=TOP, env=env, pass_fds=fds)

    def ready(self) -> bool:
        """Connected, and its subscription stands."""
        assert self._process is not None and self._process.poll() is None, "the bridge ended"
        return (self._directory / f"ready-{self._process.pid}").exists()

    def alive(self) -> bool:
        return self._process is not None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def lines(self) -> int:
        return self._records.read_bytes().count(b"\n")

    def records(self) -> Iterator[dict[str, Any]]:
        """What is durable. A line cut by the kill is not: its batch was not acknowledged."""
        for line in self._records.read_bytes().split(b"\n"):
            try:
                yield json.loads(line)
            except ValueError:
                continue
