"""Twenty devices of a store, as real MQTT clients that remember what the broker acknowledged."""

import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.broker_files import Account

Reading = Callable[[int], dict[str, object]]


def _fridge(n: int) -> dict[str, object]:
    return {"celsius": round(4.0 + 0.3 * math.sin(n / 7), 2)}


def _warming(n: int) -> dict[str, object]:
    return {"celsius": round(4.0 + n * 0.05, 2)}


FLEET: dict[str, tuple[str, Reading]] = {
    **{f"fridge-{i:02}": ("temperature", _warming if i == 7 else _fridge) for i in range(1, 13)},
    **{f"door-{i}": ("state", lambda n: {"open": n % 20 < 2}) for i in range(1, 4)},
    **{f"locker-{i}": ("state", lambda n: {"occupied": 12 + n % 5}) for i in range(1, 3)},
    **{f"pad-{i}": ("state", lambda n: {"clear": n % 9 != 0}) for i in range(1, 3)},
    "roof-radio": ("signal", lambda n: {"rsrp_dbm": -80 - n % 6}),
}


@dataclass
class Device:
    """Publishes QoS 1, waits for PUBACK in the background, answers commands."""

    name: str
    port: int
    account: Account
    acknowledged: set[int] = field(default_factory=set)
    sent: int = 0

    def connect(self) -> None:
        client = Client(CallbackAPIVersion.VERSION2, client_id=self.name, protocol=MQTTProtocolVersion.MQTTv5)
        client.username_pw_set(self.account.username, self.account.password)
        client.will_set(f"devices/{self.name}/status", "offline", qos=1, retain=True)
        client.max_inflight_messages_set(20)
        self._pending: dict[int, int] = {}
        self._lock = threading.Lock()
        client.on_publish = lambda _c, _u, mid, *_: self._on_puback(mid)
        client.on_message = self._on_command
        client.on_connect = lambda c, *_: c.subscribe(f"devices/{self.name}/cmd/+", qos=1)
        client.connect("127.0.0.1", self.port, keepalive=30)
        client.loop_start()
        self._client = client
        client.publish(f"devices/{self.name}/status", "online", qos=1, retain=True)

    def publish(self) -> None:
        channel, reading = FLEET[self.name]
        n = self.sent = self.sent + 1
        with self._lock:
            info: MQTTMessageInfo = self._client.publish(
                f"devices/{self.name}/{channel}", json.dumps({"n": n, **reading(n)}), qos=1
            )
            self._pending[info.mid] = n

    def settled(self) -> bool:
        with self._lock:
            return not self._pending

    def disconnect(self) -> None:
        self._client.publish(f"devices/{self.name}/status", "offline", qos=1, retain=True).wait_for_publish(5)
        self._client.disconnect()
        self._client.loop_stop()

    def _on_puback(self, mid: int) -> None:
        with self._lock:
            if (n := self._pending.pop(mid, None)) is not None:
                self.acknowledged.add(n)

    def _on_command(self, client: Client, _: object, message: MQTTMessage) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        if (correlation := getattr(message.properties, "CorrelationData", None)) is not None:
            properties.CorrelationData = correlation
        answer = json.dumps({"ok": True, "set": message.payload.decode()})
        client.publish(f"{message.topic}/ack", answer, qos=1, properties=properties)


class Fleet:
    """All of them, publishing at `rate` messages a second each until `stop`."""

    def __init__(self, port: int, rate: float) -> None:
        self.devices: list[Device] = []
        self._port = port
        self._rate = rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="fleet", daemon=True)

    def start(self, accounts: Mapping[str, Account]) -> None:
        self.devices = [Device(name, self._port, accounts[name]) for name in FLEET]
        for device in self.devices:
            device.connect()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def disconnect(self) -> None:
        self.stop()
        for device in self.devices:
            device.disconnect()

    def settled(self) -> bool:
        return all(device.settled() for device in self.devices)

    @property
    def acknowledged(self) -> set[tuple[str, int]]:
        return {(device.name, n) for device in self.devices for n in device.acknowledged}

    def _publish(self) -> None:
        while not self._stop.wait(1 / self._rate):
            for device in self.devices:
                device.publish()
