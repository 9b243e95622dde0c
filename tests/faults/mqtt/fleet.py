"""Fifty devices that remember, by content, what the broker acknowledged to them: real MQTT clients (paho), QoS 1."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

PAYLOAD_BYTES = 200
CHANNELS = ("temperature", "door")
_SESSION_SECONDS = 3600
_TURN_SECONDS = 0.02
_RETRY_SECONDS = 0.2


@dataclass
class Device:
    """One client. Message n goes to channel n % 2; `acknowledged` holds the n of every PUBACK that was no refusal.

    A thread of its own does all of its work. paho's own thread would let a new message overtake, between CONNECT and
    CONNACK, those that have to be sent again: then the device would have lost the order, not who is tested.
    """

    name: str
    port: int
    username: str
    password: str
    rate: float
    acknowledged: set[int] = field(default_factory=set[int])
    refused: int = 0
    sent: int = 0

    def __post_init__(self) -> None:
        self._under_way: dict[int, int] = {}
        self._quiet, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, name=self.name, daemon=True)
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=self.username, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.username_pw_set(self.username, self.password)
        self._client.max_inflight_messages_set(20)
        self._client.on_publish = lambda _c, _u, mid, code, _p: self._on_puback(mid, code)

    def start(self) -> None:
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Messages that the broker has neither acknowledged nor refused."""
        return len(self._under_way)

    def pause(self) -> None:
        """No new messages; what waits for its PUBACK goes on waiting."""
        self._quiet.set()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _live(self) -> None:
        began = time.monotonic()
        while not self._stop.is_set():
            due = int((time.monotonic() - began) * self.rate)
            while self._client.is_connected() and self.sent < due and not self._quiet.is_set():
                self._publish()
            if self._client.loop(_TURN_SECONDS) is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._connect()
        self._client.disconnect()

    def _connect(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's has no annotations
        properties.SessionExpiryInterval = _SESSION_SECONDS
        try:
            self._client.connect("127.0.0.1", self.port, keepalive=10, clean_start=False, properties=properties)
        except OSError:
            self._stop.wait(_RETRY_SECONDS)

    def _publish(self) -> None:
        n = self.sent = self.sent + 1
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # as above
        properties.UserProperty = [("idempotency-key", str(n))]
        body = json.dumps({"device": self.name, "n": n}).ljust(PAYLOAD_BYTES).encode()
        topic = f"devices/{self.name}/{CHANNELS[n % len(CHANNELS)]}"
        self._under_way[self._client.publish(topic, body, qos=1, properties=properties).mid] = n

    def _on_puback(self, mid: int, code: ReasonCode) -> None:
        n = self._under_way.pop(mid, None)
        if n is None:
            return
        if code.is_failure:
            self.refused += 1
        else:
            self.acknowledged.add(n)


class Fleet:
    """All devices together."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self.devices = list(devices)

    def start(self) -> None:
        for device in self.devices:
            device.start()

    def pause(self) -> None:
        for device in self.devices:
            device.pause()

    def close(self) -> None:
        for device in self.devices:
            device.close()

    def settled(self) -> bool:
        return not any(device.waiting for device in self.devices)

    def total(self, count: Callable[[Device], int]) -> int:
        return sum(map(count, self.devices))
