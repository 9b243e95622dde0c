"""Twenty devices of a store, as real MQTT clients over TLS that remember what the broker acknowledged."""

import csv
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.broker_files import Ports

Reading = Callable[[int], dict[str, object]]
CAMERA = "camera-1"
_STEADY_SECONDS = 0.5


@dataclass(frozen=True)
class Model:
    """What a device is, how it proves who it is (`key`: a certificate), and what it says."""

    zone: str
    device_class: str
    credential: str
    channel: str
    reading: Reading


def _fridge(n: int) -> dict[str, object]:
    return {"celsius": round(4.0 + 0.3 * math.sin(n / 7), 2)}


def _warming(n: int) -> dict[str, object]:
    return {"celsius": round(4.0 + n * 0.05, 2)}


FLEET: dict[str, Model] = {
    **{
        f"fridge-{i:02}": Model("cold", "fridge", "password", "temperature", _warming if i == 7 else _fridge)
        for i in range(1, 13)
    },
    **{f"door-{i}": Model("entrance", "door", "password", "state", lambda n: {"open": n % 20 < 2}) for i in (1, 2, 3)},
    **{f"locker-{i}": Model("parcels", "locker", "key", "state", lambda n: {"boxes": 12 + n % 5}) for i in (1, 2)},
    **{f"pad-{i}": Model("roof", "landing-pad", "password", "state", lambda n: {"clear": n % 9 != 0}) for i in (1, 2)},
    CAMERA: Model("entrance", "camera", "key", "picture", lambda _: {}),
}


def listed() -> str:
    """The file that `edgectl device import` takes."""
    rows = (f"{name},{model.zone},{model.device_class},{model.credential}" for name, model in FLEET.items())
    return "id,zone,class,credential\n" + "\n".join(rows) + "\n"


def handed(directory: Path) -> dict[str, dict[str, str]]:
    """By device, what the import has left for it."""
    with (directory / "devices.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@dataclass
class Device:
    """Publishes QoS 1, waits for PUBACK in the background, answers commands. `picture` is in all that it says."""

    name: str
    picture: str
    acknowledged: set[int] = field(default_factory=set)
    sent: int = 0

    def connect(self, identity: Mapping[str, str], ca: Path, ports: Ports) -> None:
        client = Client(CallbackAPIVersion.VERSION2, client_id=self.name, protocol=MQTTProtocolVersion.MQTTv5)
        if identity["password"]:
            client.username_pw_set(identity["user"], identity["password"])
            client.tls_set(str(ca))
        else:
            client.tls_set(str(ca), identity["certificate"], identity["key"])
        client.will_set(f"devices/{self.name}/status", "offline", qos=1, retain=True)
        client.max_inflight_messages_set(20)
        client.reconnect_delay_set(1, 1)
        self._pending: dict[int, int] = {}
        self._refused: dict[int, str] = {}
        self._steady = math.inf
        self._lock = threading.Lock()
        client.on_publish = lambda _c, _u, mid, code, _p: self._on_puback(mid, code)
        client.on_message = self._on_command
        client.on_connect = lambda *_: self._on_connect()
        client.on_disconnect = lambda *_: self._on_disconnect()
        self._client = client
        client.connect("localhost", ports.passwords if identity["password"] else ports.certificates, keepalive=30)
        client.loop_start()

    def publish(self) -> None:
        """Nothing while what was under way before a new connection may still be sent again: the order would be lost."""
        model = FLEET[self.name]
        if time.monotonic() < self._steady:
            return
        n = self.sent = self.sent + 1
        reading = {"n": n, **model.reading(n), **({"picture": self.picture} if self.picture else {})}
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("idempotency-key", str(n))]  # the broker may be killed before it acknowledges
        with self._lock:
            topic = f"devices/{self.name}/{model.channel}"
            self._pending[self._client.publish(topic, json.dumps(reading), qos=1, properties=properties).mid] = n

    def say(self, topic: str) -> str:
        """What the broker says to a message at `topic`."""
        mid = self._client.publish(topic, "{}", qos=1).mid
        end = time.monotonic() + 5
        while mid not in self._refused and time.monotonic() < end:
            time.sleep(0.02)
        return self._refused.get(mid, "")

    def settled(self) -> bool:
        with self._lock:
            return not self._pending

    def disconnect(self) -> None:
        self._client.publish(f"devices/{self.name}/status", "offline", qos=1, retain=True).wait_for_publish(5)
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self) -> None:
        self._steady = time.monotonic() + _STEADY_SECONDS
        self._client.subscribe(f"devices/{self.name}/cmd/+", qos=1)
        self._client.publish(f"devices/{self.name}/status", "online", qos=1, retain=True)

    def _on_disconnect(self) -> None:
        self._steady = math.inf

    def _on_puback(self, mid: int, code: ReasonCode) -> None:
        with self._lock:
            n = self._pending.pop(mid, None)
        if code.is_failure:
            self._refused[mid] = str(code)
        elif n is not None:
            self.acknowledged.add(n)

    def _on_command(self, client: Client, _: object, message: MQTTMessage) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        if (correlation := getattr(message.properties, "CorrelationData", None)) is not None:
            properties.CorrelationData = correlation
        answer = f"{message.topic.rpartition('/')[2]} {message.payload.decode()}: done"
        client.publish(f"{message.topic}/ack", answer, qos=1, properties=properties)


class Fleet:
    """All of them, publishing at `rate` messages a second each until `stop`."""

    def __init__(self, rate: float, picture: str) -> None:
        self.devices = {name: Device(name, picture if name == CAMERA else "") for name in FLEET}
        self._rate = rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="fleet", daemon=True)

    def connect(self, handed_out: Path, ports: Ports) -> None:
        identities = handed(handed_out)
        for name, device in self.devices.items():
            device.connect(identities[name], handed_out / "ca.crt", ports)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def disconnect(self) -> None:
        self.stop()
        for device in self.devices.values():
            device.disconnect()

    def settled(self) -> bool:
        return all(device.settled() for device in self.devices.values())

    def acknowledged(self, names: Iterable[str]) -> set[tuple[str, int]]:
        return {(name, n) for name in names for n in self.devices[name].acknowledged.copy()}

    def _publish(self) -> None:
        while not self._stop.wait(1 / self._rate):
            for device in self.devices.values():
                device.publish()
