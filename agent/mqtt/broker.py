"""How the agent reaches the broker: credentials, the persistent session, the subscription, acknowledgement by hand.

The only file that knows aiomqtt and paho. aiomqtt has no public manual acknowledgement, and its queue costs half of
the CPU time (docs/decisions/0043, 0045): messages are taken, and acknowledged, at paho, which it keeps as `_client`.
"""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

import aiomqtt
from paho.mqtt.client import CallbackOnConnect_v2, ConnectFlags, MQTTMessage
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.config.schema import MqttConfig
from agent.errors import AwayError
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.topics import EVERYTHING

# The session never expires (MQTT 5, 3.1.2.11.2): a box that was off for a month still gets what the broker kept.
_NEVER = 0xFFFFFFFF
# Twice what a record takes. What is between is refused, counted and logged; what is above, the broker drops for us.
_MAX_PACKET_BYTES = 256 * 1024
# Reading may pause for as long as the disk is full, and nobody hears the broker's answer to a ping meanwhile: after
# two of these the connection is given up, and resumed.
_KEEPALIVE_SECONDS = 60

# That the connection was lost is said by us, once; its debug level has a line for each message.
_paho_log = logging.getLogger(f"{__name__}.paho")
_paho_log.setLevel(logging.CRITICAL)

_properties: Callable[[int], Properties] = Properties  # its constructor has no annotations


class Connection:
    """One connection to the broker. It stays usable after it is lost: what is done on it then leads nowhere."""

    def __init__(self, client: aiomqtt.Client, paho: PahoClient) -> None:
        self._client = client
        self._paho = paho
        self._loop = asyncio.get_running_loop()

    def take_over(self) -> None:
        """Read and write at the socket ourselves, once it is connected.

        Reading, so that it can pause. Writing, because aiomqtt adds its writer in the loop's next turn, when the socket
        may be closed and its number another's.
        """
        self._paho.on_socket_register_write = lambda paho, _, sock: self._loop.add_writer(sock, paho.loop_write)
        self.resume()

    def pause(self) -> None:
        """Read no more: TCP then holds the broker back.

        The receive maximum alone does not: mosquitto 2.0.11 forgets it with the first PUBACK (its issue 2301).
        """
        sock = self._paho.socket()
        if sock is not None:
            self._loop.remove_reader(sock)

    def resume(self) -> None:
        sock = self._paho.socket()
        if sock is not None:
            self._loop.add_reader(sock, self._read)

    def acknowledge(self, packet_id: int) -> None:
        """PUBACK. On a lost connection it goes nowhere, and the broker delivers again."""
        self._paho.ack(packet_id, 1)

    async def publish(
        self, topic: str, payload: bytes, *, response_topic: str, correlation_data: bytes, expiry_seconds: int
    ) -> None:
        """QoS 1; returns when the broker has it, waits without end when it doesn't say so. Raises AwayError unsent."""
        properties = _properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = response_topic
        properties.CorrelationData = correlation_data
        properties.MessageExpiryInterval = expiry_seconds
        try:
            await self._client.publish(topic, payload, qos=1, properties=properties, timeout=math.inf)
        except aiomqtt.MqttError as why:
            raise AwayError(f"broker: {why}") from why

    def _read(self) -> None:
        try:
            self._paho.loop_read()
        except Exception as why:  # noqa: BLE001  whatever paho can't decode ends the connection, as in aiomqtt's reader
            self.pause()
            lost = self._client._disconnected  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            if not lost.done():
                lost.set_exception(why)

    async def lost(self) -> None:
        """Wait until the connection is lost; always raises AwayError."""
        try:
            async for _ in self._client.messages:  # none comes here: on_message is ours
                pass
        except aiomqtt.MqttError as why:
            raise AwayError(f"broker: {why.__cause__ or why}") from why


@asynccontextmanager
async def connect(
    config: MqttConfig, deliver: Callable[[Connection, Delivery], None], session_lost: Callable[[], None]
) -> AsyncGenerator[Connection, None]:
    """Resume the session of `config.client_id`; `deliver` is called in the loop, in order, with each message.

    `session_lost` is called before the first of them when the broker knows no session of ours.

    Raises AwayError when the broker is away, refuses us, or the password file can't be read.
    """
    client = _client(config)
    paho = client._client  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  see the module's docstring
    paho.manual_ack_set(True)
    connection = Connection(client, paho)
    paho.on_message = lambda _paho, _userdata, message: deliver(connection, _delivery(message))
    _watch_session(paho, session_lost)
    try:
        async with client:
            connection.take_over()
            await _subscribe(client)
            yield connection
    except aiomqtt.MqttError as why:
        raise AwayError(f"broker at {config.host}:{config.port}: {why}") from why


def _watch_session(paho: PahoClient, session_lost: Callable[[], None]) -> None:
    aiomqtts = cast("CallbackOnConnect_v2", paho.on_connect)

    def on_connect(
        client: PahoClient, userdata: object, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if not code.is_failure and not flags.session_present:
            session_lost()
        aiomqtts(client, userdata, flags, code, properties)

    paho.on_connect = on_connect


def _client(config: MqttConfig) -> aiomqtt.Client:
    properties = _properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = _NEVER
    properties.ReceiveMaximum = config.receive_maximum
    properties.MaximumPacketSize = _MAX_PACKET_BYTES
    client = aiomqtt.Client(
        config.host,
        config.port,
        logger=_paho_log,
        identifier=config.client_id,
        username=config.username or None,
        password=_password(config),
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
        keepalive=_KEEPALIVE_SECONDS,
        properties=properties,
    )
    client.pending_calls_threshold = 1000  # commands under way; it only warns
    return client


def _password(config: MqttConfig) -> str | None:
    """Read at each connection: a changed password needs no restart."""
    if config.password_file is None:
        return None
    try:
        return config.password_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as why:
        raise AwayError(f"password file {config.password_file}: {why}") from why


async def _subscribe(client: aiomqtt.Client) -> None:
    """Retained messages come with the first subscription of a session only, and our own never come back."""
    options = SubscribeOptions(qos=1, noLocal=True, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    for granted in await client.subscribe(EVERYTHING, options=options):
        if isinstance(granted, ReasonCode) and granted.is_failure:
            raise AwayError(f"broker refuses the subscription to {EVERYTHING}: {granted}")


def _delivery(message: MQTTMessage) -> Delivery:
    try:
        topic = message.topic
    except UnicodeDecodeError:
        topic = ""
    properties = message.properties
    return Delivery(
        topic,
        bytes(message.payload),
        message.qos,
        message.retain,
        message.dup,
        message.mid,
        getattr(properties, "ContentType", ""),
        tuple(getattr(properties, "UserProperty", ())),
        getattr(properties, "CorrelationData", b""),
    )
