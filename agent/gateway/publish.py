"""Publishes one message as the device that sent it: the broker checks the password and what it may publish."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.gateway.post import Answer, Post

# Connecting, and then the PUBACK: a broker on this box takes milliseconds.
_PATIENCE_SECONDS = 5.0
# MQTT 5, 2.4
_BAD_CREDENTIALS = {0x86, 0x87}
_NO_SUBSCRIBER = 0x10
_NOT_AUTHORIZED = 0x87
_properties: Callable[[int], Properties] = Properties  # its constructor has no annotations
BUSY = Answer(503, "the store's broker can't take it now", retry_seconds=5)


@dataclass(frozen=True, slots=True)
class Broker:
    host: str
    port: int


class _Exchange:
    """CONNECT, PUBLISH (QoS 1), PUBACK, DISCONNECT: what the broker said to the first and to the second."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self.connected: int | None = None
        self.acknowledged: int | None = None
        self.over = False
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id=post.device, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
        )
        self.client.username_pw_set(post.device, post.password)
        self.client.on_connect = self._on_connect
        self.client.on_publish = self._on_publish
        self.client.on_disconnect = self._on_disconnect

    def _on_connect(
        self, client: Client, _u: object, _f: ConnectFlags, code: ReasonCode, _p: Properties | None
    ) -> None:
        self.connected = code.value
        if code.is_failure:
            return
        properties = _properties(PacketTypes.PUBLISH)
        if self._post.content_type:
            properties.ContentType = self._post.content_type
        if self._post.idempotency_key:
            properties.UserProperty = [("idempotency-key", self._post.idempotency_key)]
        client.publish(self._post.topic, self._post.payload, qos=1, properties=properties)

    def _on_publish(self, _c: Client, _u: object, _mid: int, code: ReasonCode, _p: Properties) -> None:
        self.acknowledged = code.value

    def _on_disconnect(
        self, _c: Client, _u: object, _f: DisconnectFlags, _code: ReasonCode, _p: Properties | None
    ) -> None:
        self.over = True


def deliver(broker: Broker, post: Post, stop: threading.Event) -> Answer:
    """204 once the broker has it for somebody who keeps it. Blocks: call it from a thread."""
    exchange = _Exchange(post)
    client = exchange.client
    until = time.monotonic() + _PATIENCE_SECONDS
    try:
        client.connect(broker.host, broker.port, keepalive=10)
        while exchange.acknowledged is None and not exchange.over and not stop.is_set():
            left = until - time.monotonic()
            if left <= 0 or client.loop(min(left, 0.5)) is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                break
        client.disconnect()
        client.loop(0.01)
    except OSError:
        return BUSY
    return _answer(exchange.connected, exchange.acknowledged)


def _answer(connected: int | None, acknowledged: int | None) -> Answer:
    if connected in _BAD_CREDENTIALS:
        return Answer(401, "unknown device, or not its password")
    if acknowledged == _NOT_AUTHORIZED:
        return Answer(403, "this device may not publish there")
    # Taken, but for nobody: the agent's session isn't there yet, and nothing would keep the message.
    if acknowledged is None or acknowledged == _NO_SUBSCRIBER or acknowledged >= 0x80:
        return BUSY
    return Answer(204, "")
