"""A real mosquitto with the listeners that jobs and the store's tools reach, and clients of tenants at its socket."""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.mqtt import tenants
from agent.mqtt.access import policy
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.seed import document
from agent.spec import MqttView

TOP = Path(__file__).parents[2]
MOSQUITTO = "/usr/sbin/mosquitto"
PLUGIN = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), Path("/nowhere"))
NOT_AUTHORIZED = 135
WITNESS = "witness"  # sees and says everything: the test's own


def access(secret: bytes, accounts: Iterable[Account], views: Iterable[MqttView]) -> policy.Access:
    """As agent/mqtt/gate.py makes it."""
    by_id, live = {account.id: account for account in accounts}, frozenset(views)
    return policy.Access(secret, by_id, tenants.users(secret, live, list(by_id.values())), live)


def configuration(directory: Path, port: int) -> str:
    """systemd/mosquitto.conf with its places moved, without the listeners of the store's network."""
    text = (TOP / "systemd/mosquitto.conf").read_text()
    head, *listeners = re.split(r"^(?=listener )", text, flags=re.MULTILINE)
    here = [each for each in listeners if not each.startswith("listener 88")]
    tail = listeners[-1].partition("\n\n")[2]
    moved = "".join([head, *here, tail])
    for line, instead in (
        ("listener 1883 .*", f"listener {port} 127.0.0.1"),
        ("listener 0 .*", f"listener 0 {directory}/jobs/broker.sock"),
        ("plugin .*", f"plugin {PLUGIN}"),
        ("plugin_opt_config_file .*", f"plugin_opt_config_file {directory}/dynamic-security.json"),
    ):
        moved, times = re.subn(rf"^{line}$", instead, moved, flags=re.MULTILINE)
        assert times == 1, f"{line} in systemd/mosquitto.conf"
    return moved


def with_witness(seed: bytes) -> bytes:
    state = json.loads(seed)
    stretched = hashlib.pbkdf2_hmac("sha512", WITNESS.encode(), b"twelve bytes", 1)
    acls = [
        {"acltype": kind, "topic": topic, "priority": 0, "allow": True}
        for kind in ("publishClientSend", "publishClientReceive", "subscribePattern")
        for topic in ("#", "$SYS/#")
    ]
    state["roles"].append({"rolename": WITNESS, "acls": acls})
    state["clients"].append({
        "username": WITNESS, "roles": [{"rolename": WITNESS}], "iterations": 1,
        "password": base64.b64encode(stretched).decode(), "salt": base64.b64encode(b"twelve bytes").decode(),
    })  # fmt: skip
    return json.dumps(state).encode()


class TenantBroker:
    """`jobs` is what a launcher's mqtt_dir names: a directory that holds the socket alone."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tenants-", dir="/var/tmp"))
        self.jobs = self.directory / "jobs"
        self.jobs.mkdir()
        self.socket = self.jobs / "broker.sock"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.directory.chmod(0o750)
        self._own(self.directory, self.jobs)
        self._conf = self.directory / "mosquitto.conf"
        self._conf.write_text(configuration(self.directory, self.port))
        self._log = (self.directory / "log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, access: policy.Access) -> None:
        kept = self.directory / "dynamic-security.json"
        kept.write_bytes(with_witness(document(access)))
        self._own(kept)
        self._process = subprocess.Popen([MOSQUITTO, "-c", self._conf], stdout=self._log, stderr=self._log)
        deadline = time.monotonic() + 10
        while not self._listens():
            assert self._process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.005)
        self.socket.chmod(0o666)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(20)
        self._process = None

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def purge(self) -> None:
        if self._process is not None:
            self.end(signal.SIGKILL)
        self._log.close()
        shutil.rmtree(self.directory)

    def _own(self, *paths: Path) -> None:
        if os.geteuid() == 0:
            for path in paths:
                shutil.chown(path, "mosquitto", "mosquitto")

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            # The file is there a moment before anybody listens behind it.
            with socket.socket(socket.AF_UNIX) as inner:
                inner.connect(str(self.socket))
        except OSError:
            return False
        return True


class TenantClient:
    """paho, as a job uses it, at the broker's socket. `got` is every message; `ended` is set once it was thrown out."""

    def __init__(self, broker: TenantBroker, name: str, password: str) -> None:
        self.name = name
        self.got: list[paho.MQTTMessage] = []
        self.heard: Callable[[paho.MQTTMessage], None] = self.got.append
        self.ended = threading.Event()
        self.ended_at = 0.0
        self.refused = 0
        self._answers: dict[int, int] = {}
        self._moved = threading.Condition()
        self._connected = threading.Event()
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5, transport="unix"
        )
        self.client.max_inflight_messages_set(1000)
        self.client.username_pw_set(name, password)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = lambda _c, _u, message: self.heard(message)
        self.client.on_publish = lambda _c, _u, mid, code, _p: self._answered(mid, code.value)
        self.client.on_subscribe = lambda _c, _u, mid, codes, _p: self._answered(mid, codes[0].value)
        self.client.on_unsubscribe = lambda _c, _u, mid, codes, _p: self._answered(mid, codes[0].value)
        self.client.connect(str(broker.socket), 1)
        self.client.loop_start()
        assert self._connected.wait(10), broker.log()

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False, response: str = "") -> int:
        """A number for `answer`: 0, 16 (nobody listens), 135 (not authorized)."""
        properties = Properties(PacketTypes.PUBLISH)
        if response:
            properties.ResponseTopic = response
        return self.client.publish(topic, payload, 1, retain, properties).mid

    def subscribe(self, topic: str, *, identifier: int = 0) -> int:
        """A number for `answer`: the quality of service, or 135."""
        properties = Properties(PacketTypes.SUBSCRIBE)
        if identifier:
            properties.SubscriptionIdentifier = identifier
        mid = self.client.subscribe(topic, options=paho.SubscribeOptions(qos=1), properties=properties)[1]
        assert mid is not None
        return mid

    def unsubscribe(self, topic: str) -> int:
        mid = self.client.unsubscribe(topic)[1]
        assert mid is not None
        return mid

    def answer(self, number: int) -> int:
        with self._moved:
            assert self._moved.wait_for(lambda: number in self._answers, 10), f"{self.name}: no answer to {number}"
            return self._answers.pop(number)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _answered(self, mid: int, code: int) -> None:
        with self._moved:
            self._answers[mid] = code
            self._moved.notify_all()

    def _on_connect(self, _c: paho.Client, _u: object, _f: object, code: Any, _p: object) -> None:
        self.refused = code.value
        self._connected.set()

    def _on_disconnect(self, *_: object) -> None:
        self.ended_at = time.time()
        self.ended.set()
