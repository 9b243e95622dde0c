"""A device outside the board: publishes numbers at QoS 1 by TLS and password, and knows when each was acknowledged.

It goes on whatever becomes of the board, and sends again what was not acknowledged, under the same idempotency key.
"""

import threading
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

_KEEPALIVE_SECONDS = 30
_NO_MATCHING_SUBSCRIBERS = 16


class Publisher:
    """`acknowledged` is what the broker took, with this machine's wall clock when that was heard.

    `unheard` are those of them to which the broker said that nobody is subscribed, `refused` what it did not take.
    """

    def __init__(self, name: str, password: str, channel: str, address: tuple[str, int], ca: Path) -> None:
        self.name = name
        self.acknowledged: dict[int, float] = {}
        self.unheard: set[int] = set()
        self.refused: dict[int, str] = {}
        self._topic = f"devices/{name}/{channel}"
        self._life = time.time_ns()
        self._numbers: dict[int, int] = {}
        self._early: dict[int, tuple[float, Any]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        self._client.on_publish = self._answered
        self._client.username_pw_set(name, password)
        self._client.tls_set(str(ca))
        self._client.reconnect_delay_set(1, 2)
        self._client.connect_async(*address, keepalive=_KEEPALIVE_SECONDS)
        self._thread = threading.Thread(target=self._publish, daemon=True)

    @property
    def connected(self) -> bool:
        return bool(self._client.is_connected())

    def start(self, per_second: float) -> None:
        self._seconds = 1 / per_second
        self._client.loop_start()
        self._thread.start()

    def stop(self) -> None:
        """Nothing new is published; what was is still sent. `close` ends that too."""
        self._stop.set()
        self._thread.join(10)

    def close(self) -> None:
        self.stop()
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def waiting(self) -> int:
        """Published, and not yet acknowledged."""
        with self._lock:
            return len(self._numbers)

    def _publish(self) -> None:
        number = 0
        while not self._stop.wait(self._seconds):
            properties = Properties(PacketTypes.PUBLISH)
            properties.UserProperty = [("idempotency-key", f"{self._life}-{number}")]
            sent = self._client.publish(self._topic, str(number), qos=1, properties=properties)
            with self._lock:  # not around publish(): paho holds a lock of its own while it calls us
                early = self._early.pop(sent.mid, None)
                if early is None:
                    self._numbers[sent.mid] = number
                else:
                    self._note(number, *early)
            number += 1

    def _answered(self, _client: Any, _userdata: Any, mid: int, reason: Any, _properties: Any) -> None:
        now = time.time()
        with self._lock:
            if mid in self._numbers:
                self._note(self._numbers.pop(mid), now, reason)
            else:  # before publish() has said under which id
                self._early[mid] = now, reason

    def _note(self, number: int, when: float, reason: Any) -> None:
        if reason.is_failure:
            self.refused[number] = str(reason)
            return
        self.acknowledged[number] = when
        if reason.value == _NO_MATCHING_SUBSCRIBERS:
            self.unheard.add(number)
