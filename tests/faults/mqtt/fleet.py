"""Fifty devices that remember, by content, what the broker acknowledged to them: real MQTT clients (paho), QoS 1."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

PAYLOAD_BYTES = 200
CHANNELS = ("temperature", "door")
_SESSION_SECONDS = 3600


@dataclass
class Device:
    """One client. Message n goes to channel n % 2; `acknowledged` holds the n of every PUBACK that was no refusal."""

    name: str
    port: int
    username: str
    password: str
    acknowledged: set[int] = field(default_factory=set[int])
    refused: int = 0
    sent: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[int, int] = {}
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=self.username, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.username_pw_set(self.username, self.password)
        self._client.reconnect_delay_set(0.1, 0.5)  # type: ignore[arg-type]  # seconds; fractions work
        self._client.max_inflight_messages_set(20)
        self._client.on_publish = lambda _c, _u, mid, code, _p: self._on_puback(mid, code)

    def connect(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's has no annotations
        properties.SessionExpiryInterval = _SESSION_SECONDS
        self._client.connect("127.0.0.1", self.port, keepalive=10, clean_start=False, properties=properties)
        self._client.loop_start()

    def publish(self) -> None:
        with self._lock:
            n = self.sent = self.sent + 1
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # as above
            properties.UserProperty = [("idempotency-key", str(n))]
            body = json.dumps({"device": self.name, "n": n}).ljust(PAYLOAD_BYTES).encode()
            topic = f"devices/{self.name}/{CHANNELS[n % len(CHANNELS)]}"
            self._under_way[self._client.publish(topic, body, qos=1, properties=properties).mid] = n

    @property
    def waiting(self) -> int:
        """Messages that the broker has neither acknowledged nor refused."""
        return len(self._under_way)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_puback(self, mid: int, code: ReasonCode) -> None:
        with self._lock:
            n = self._under_way.pop(mid, None)
            if n is None:
                return
            if code.is_failure:
                self.refused += 1
            else:
                self.acknowledged.add(n)


class Fleet:
    """All devices, paced by one thread: `rate` messages a second together, until `pause`."""

    def __init__(self, devices: Sequence[Device], rate: float) -> None:
        self.devices = list(devices)
        self._rate = rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="fleet", daemon=True)

    def start(self) -> None:
        for device in self.devices:
            device.connect()
        self._thread.start()

    def pause(self) -> None:
        """No new messages; what waits for its PUBACK goes on waiting."""
        self._stop.set()
        self._thread.join()

    def close(self) -> None:
        self._stop.set()
        for device in self.devices:
            device.close()

    def settled(self) -> bool:
        return not any(device.waiting for device in self.devices)

    def total(self, count: Callable[[Device], int]) -> int:
        return sum(map(count, self.devices))

    def _publish(self) -> None:
        began, done = time.monotonic(), 0
        while not self._stop.wait(0.005):
            due = int((time.monotonic() - began) * self._rate)
            while done < due:
                self.devices[done % len(self.devices)].publish()
                done += 1
