"""Three ways from a device to where its messages are kept: ours, mosquitto's own bridge, mqtt.js with a file.

Each says how many messages have arrived at its end, durably where it can: ours by central's position on disk, mqtt.js
by what it has synced, the bridge by what the second broker has acknowledged (it syncs nothing).
"""

import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.footprint import cpu_seconds
from storeedge.v1.types_pb2 import RECORD_CLASS_DEVICE
from tests.broker_files import connects, free_port
from tests.stack import Stack, until

MQTT_JS = "mqtt@5.14.1"

# As durable as it can be made: what came in one turn of the loop is written and synced, and acknowledged after that.
# mqtt.js has no call for this: its own PUBACKs are caught on their way out and kept back.
_NODE = """
const mqtt = require('mqtt'), fs = require('fs')
const [port, file] = process.argv.slice(2), fd = fs.openSync(file, 'a')
let lines = [], held = [], busy = false, total = 0
const client = mqtt.connect('mqtt://127.0.0.1:' + port, { protocolVersion: 5, clientId: 'node', clean: false,
  properties: { sessionExpiryInterval: 3600, receiveMaximum: 1000 } })
const send = client._sendPacket.bind(client)
client._sendPacket = (packet, done, ...more) => {
  if (packet.cmd !== 'puback') return send(packet, done, ...more)
  held.push(packet)
  if (done) done()
}
function flush () {
  if (busy || !lines.length) return
  const batch = lines, acks = held
  lines = []; held = []; busy = true
  fs.writeSync(fd, Buffer.concat(batch))
  fs.fdatasync(fd, error => {
    if (error) throw error
    busy = false
    total += acks.length
    for (const packet of acks) send(packet, () => {})
    fs.writeFileSync(file + '.count', String(total))
    setImmediate(flush)
  })
}
client.handleMessage = (packet, done) => {
  lines.push(packet.payload, Buffer.from('\\n'))
  done()
  setImmediate(flush)
}
client.subscribe('#', { qos: 1 }, error => { if (error) throw error; console.log('ready') })
"""


class Way:
    """`port` is where devices publish. `sink` is who is held still while a backlog grows."""

    name: str
    port: int
    sink: int

    def login(self, device: str) -> Sequence[str]:
        """Words of mosquitto_pub for a device."""
        return ("-i", device)

    def arrived(self) -> int:
        raise NotImplementedError

    def pids(self) -> dict[str, int]:
        """Every process between the device and the end."""
        raise NotImplementedError

    def cpu(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self.pids().items()}


class Ours(Way):
    """The installed agent and central, as tests.stack runs them."""

    name = "ours"

    def __init__(self, stack: Stack, devices: Sequence[str]) -> None:
        self._stack = stack
        self._accounts = {device: stack.device(device) for device in devices}
        for device in devices:
            until(lambda device=device: self._admitted(device), what=f"{device} to be admitted")
        self.port, self.sink = stack.mqtt_port, stack.parts["agent"].pid
        self.file = f"file:{stack.dir}/central/central/central.db?mode=ro"
        self.database = sqlite3.connect(self.file, uri=True)

    def _admitted(self, device: str) -> bool:
        where = [
            "-p",
            str(self._stack.mqtt_port),
            *self.login(device),
            "-t",
            f"devices/{device}/hello",
            "-n",
            "-q",
            "1",
        ]
        return subprocess.run(["mosquitto_pub", *where], check=False, capture_output=True).returncode == 0

    def login(self, device: str) -> Sequence[str]:
        return self._accounts[device].words

    def arrived(self) -> int:
        query = "SELECT coalesce(max(seq), 0) FROM position WHERE class = ?"
        (seq,) = self.database.execute(query, (RECORD_CLASS_DEVICE,)).fetchone()
        return int(seq)

    def pids(self) -> dict[str, int]:
        return {name: self._stack.parts[name].pid for name in ("mosquitto", "agent", "central")}


class Bridge(Way):
    """One mosquitto that bridges to a second; a client that is away keeps the second from throwing them away."""

    name = "mosquitto bridge"

    def __init__(self, directory: Path) -> None:
        self.port, self.end = free_port(), free_port()
        self._second = mosquitto(directory / "second", self.end)
        keeper = ["mosquitto_sub", "-p", str(self.end), "-c", "-i", "keeper", "-q", "1", "-t", "devices/#", "-E"]
        subprocess.run(keeper, check=True)
        bridge = f"connection up\naddress 127.0.0.1:{self.end}\ntopic devices/# out 1\ncleansession false\n"
        self._first = mosquitto(directory / "first", self.port, f"{bridge}notifications false\n")
        self.sink = self._second.pid
        until(lambda: "bytes_received" in self._socket(), what="the bridge")

    def _socket(self) -> str:
        """What the kernel counts on the bridge's socket (ss(8), tcp_info)."""
        argv = ["ss", "-tinH", "dst", f"127.0.0.1:{self.end}"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def arrived(self) -> int:
        """PUBACKs of MQTT 3.1.1, 4 bytes each; pings and the like are fewer than one message in a round."""
        return sum(map(int, re.findall(r"bytes_received:(\d+)", self._socket()))) // 4

    def pids(self) -> dict[str, int]:
        return {"first": self._first.pid, "second": self._second.pid}

    def close(self) -> None:
        for broker in (self._first, self._second):
            broker.terminate()
            broker.wait(10)


class Node(Way):
    """mqtt.js beside a broker of its own."""

    name = "mqtt.js"

    def __init__(self, directory: Path, modules: Path) -> None:
        self.port = free_port()
        self._broker = mosquitto(directory / "node", self.port)
        self._file = directory / "node.lines"
        (directory / "sink.js").write_text(_NODE)
        self._node = subprocess.Popen(
            ["node", directory / "sink.js", str(self.port), self._file],
            env={**os.environ, "NODE_PATH": str(modules)}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._node.stdout is not None
        assert self._node.stdout.readline() == "ready\n"
        self.sink = self._node.pid

    def arrived(self) -> int:
        try:
            return int((self._file.with_name(self._file.name + ".count")).read_text() or 0)
        except FileNotFoundError:
            return 0

    def pids(self) -> dict[str, int]:
        return {"mosquitto": self._broker.pid, "node": self._node.pid}

    def close(self) -> None:
        for process in (self._node, self._broker):
            process.terminate()
            process.wait(10)


def mosquitto(directory: Path, port: int, more: str = "") -> "subprocess.Popen[bytes]":
    """With persistence, and no bound on what waits."""
    directory.mkdir()
    shutil.chown(directory, "mosquitto")
    config = directory / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {directory}/\n"
        f"max_queued_messages 0\nmax_queued_bytes 0\nsys_interval 0\n{more}"
    )
    process = subprocess.Popen(
        ["/usr/sbin/mosquitto", "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(lambda: connects(port), what="mosquitto to listen")
    return process


def mqtt_js(cache: Path) -> Path | None:
    """Where mqtt.js is installed, fetched if it is not; None without Node.js or a registry."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        print("bridge: no Node.js here, mqtt.js is left out")
        return None
    if not (cache / "node_modules/mqtt").exists():
        cache.mkdir(parents=True, exist_ok=True)
        argv = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(cache), MQTT_JS]
        if subprocess.run(argv, check=False).returncode != 0:
            print(f"bridge: {MQTT_JS} can't be fetched, it is left out")
            return None
    return cache / "node_modules"


def directory() -> Path:
    """Which mosquitto may enter, after it has become its own user."""
    found = Path(tempfile.mkdtemp(prefix="bench-bridge-", dir="/var/tmp"))
    found.chmod(0o711)
    return found
