"""A low-rate connection to the broker: for commands and their answers, and another for its administration.

The only file that knows aiomqtt and paho. What comes in bulk has a connection of its own (agent.mqtt.wire).
"""

import asyncio
import logging
import math
import socket
from collections.abc import Awaitable, Callable

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.backoff import full_jitter
from agent.clock import Clock
from agent.config.schema import MqttConfig
from agent.errors import AwayError
from agent.mqtt.topics import matches
from agent.mqtt.wire.delivery import Delivery

log = logging.getLogger(__name__)

# The broker's administration answers with pages of roles (access/dynsec.py); what is bigger, the broker drops for us.
_MAX_PACKET_BYTES = 4 << 20
# Beyond, what comes is dropped: answers come over the bulk connection too, and a command must be asked for again.
_MAX_QUEUED = 2000
_KEEPALIVE_SECONDS = 30
_REFUSALS = frozenset({134, 135})  # MQTT 5, 3.2.2.2: bad user name or password, not authorized
# Else a command that follows an acknowledgement waits 40 ms for the kernel (Nagle, and the other end's delayed ACK).
_SOCKET_OPTIONS = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
_BACKOFF_BASE_SECONDS = 0.2
_BACKOFF_CAP_SECONDS = 5.0
# A connection that lived shorter counts as another failure.
_STEADY_SECONDS = 10.0

# That the connection was lost is said by us, once; its debug level has a line for each message.
_paho_log = logging.getLogger(f"{__name__}.paho")
_paho_log.setLevel(logging.CRITICAL)

_properties: Callable[[int], Properties] = Properties  # its constructor has no annotations


class LostError(AwayError):
    """The connection was lost before the broker said that it has the message: it may have it."""


class _Cancelled:
    """Whether the task was cancelled since, which aiomqtt forgets at times.

    Python 3.11's wait_for does when what it waits for comes at the same moment; an error in leaving a client hides it.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = self._count()

    def check(self) -> None:
        if self._count() > self._before:
            raise asyncio.CancelledError

    def _count(self) -> int:
        return 0 if self._task is None else self._task.cancelling()


class _Client(aiomqtt.Client):
    """aiomqtt has the loop watch a socket by its number, a moment later.

    By then it may be closed, its number another's, or what was to be written written: the loop would spin for ever.
    """

    def _on_socket_register_write(self, client: paho.Client, userdata: object, sock: socket.socket) -> None:  # noqa: ARG002
        def write() -> None:
            try:
                client.loop_write()
            except Exception as why:  # noqa: BLE001  as aiomqtt does: the connection broke
                if not self._disconnected.done():
                    self._disconnected.set_exception(why)

        def watch() -> None:
            if sock.fileno() >= 0 and client.want_write():
                self._loop.add_writer(sock.fileno(), write)

        self._loop.call_soon_threadsafe(watch)


class Control:
    """Publishes, and calls back with what it is subscribed to, while `run` runs.

    The session ends with the connection (docs/decisions/0074): what must not be lost comes over the bulk connection
    too (answers), or is asked for again by who wants it.
    """

    def __init__(self, config: MqttConfig, user: str, password: str, clock: Clock, draw: Callable[[], float]) -> None:
        """`user` is the client id too."""
        self._config = config
        self._user = user
        self._password = password
        self._clock = clock
        self._draw = draw
        self._filters: list[tuple[str, tuple[str, ...], Callable[[Delivery], None]]] = []
        self._retained: set[str] = set()
        self._client: aiomqtt.Client | None = None
        self._publishing: set[asyncio.Timeout] = set()
        self.refused = False
        """Whether the broker answered the last attempt that it doesn't know us."""
        self.on_connected: list[Callable[[], Awaitable[None]]] = []
        """Each is awaited after every (re)connection, one after the other; cancelled when the connection is lost."""

    @property
    def connected(self) -> bool:
        """Whether the broker is there and the subscriptions stand."""
        return self._client is not None

    def subscribe(self, filter_: str, callback: Callable[[Delivery], None], *, retained: bool = False) -> None:
        """From the next connection on. `callback` is called in the loop with each message; it must not raise.

        `retained`: also, on each connection, with what the broker has retained.
        """
        if retained:
            self._retained.add(filter_)
        self._filters.append((filter_, tuple(filter_.split("/")), callback))

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        response_topic: str = "",
        correlation_data: bytes = b"",
        expiry_seconds: int = 0,
        user_properties: tuple[tuple[str, str], ...] = (),
        content_type: str = "",
    ) -> None:
        """Return when the broker has it. `expiry_seconds` 0 = it has no end.

        Raises LostError when the broker may have it or not, another AwayError when nothing was sent.
        """
        client = self._client
        if client is None:
            raise AwayError("the broker is away")
        properties = _properties(PacketTypes.PUBLISH)
        if response_topic:
            properties.ResponseTopic = response_topic
        if correlation_data:
            properties.CorrelationData = correlation_data
        if expiry_seconds:
            properties.MessageExpiryInterval = expiry_seconds
        if user_properties:
            properties.UserProperty = list(user_properties)
        if content_type:
            properties.ContentType = content_type
        cancelled, lost = _Cancelled(), asyncio.timeout(None)
        try:
            async with lost:
                self._publishing.add(lost)
                await client.publish(topic, payload, qos=qos, retain=retain, properties=properties, timeout=math.inf)
                cancelled.check()
        except aiomqtt.MqttError as why:
            cancelled.check()
            raise AwayError(f"broker: {why}") from why
        except TimeoutError:
            raise LostError("the connection to the broker was lost while it was sent") from None
        finally:
            self._publishing.discard(lost)

    async def run(self) -> None:
        """Stay connected until cancelled. A broker that is away is a state, tried for without end."""
        attempt = 0
        while True:
            began = self._clock.seconds()
            try:
                await self._connect()
            except AwayError as why:
                self.refused = _is_refusal(why.__cause__)
                if self._clock.seconds() - began > _STEADY_SECONDS:
                    attempt = 0
                log.log(logging.WARNING if attempt == 0 else logging.DEBUG, "no control connection to the broker",
                        extra={"user": self._user, "reason": why, "attempt": attempt})  # fmt: skip
            await asyncio.sleep(
                full_jitter(
                    attempt, base_seconds=_BACKOFF_BASE_SECONDS, cap_seconds=_BACKOFF_CAP_SECONDS, draw=self._draw()
                )
            )
            attempt += 1

    async def _connect(self) -> None:
        """One connection, until it is lost: always raises AwayError, or is cancelled."""
        client, cancelled = self._new_client(), _Cancelled()
        try:
            async with client:
                await self._subscribe_all(client)
                cancelled.check()
                self._client = client
                self.refused = False
                log.info("control connection to the broker", extra={"user": self._user})
                await self._live(client)
        except aiomqtt.MqttError as why:
            cancelled.check()
            raise AwayError(f"broker at {self._config.host}:{self._config.port}: {why.__cause__ or why}") from why
        finally:
            self._client = None
            now = asyncio.get_running_loop().time()
            for each in self._publishing:
                each.reschedule(now)

    async def _live(self, client: aiomqtt.Client) -> None:
        async with asyncio.TaskGroup() as group:
            hooks = group.create_task(self._greet(), name="mqtt-control-connected")
            try:
                lost = await self._receive(client)
            finally:
                hooks.cancel()
        raise lost

    async def _receive(self, client: aiomqtt.Client) -> aiomqtt.MqttError:
        try:
            async for message in client.messages:
                self._dispatch(message)
        except aiomqtt.MqttError as why:
            return why
        return aiomqtt.MqttError("closed")

    async def _greet(self) -> None:
        for hook in self.on_connected:
            try:
                await hook()
            except AwayError as why:  # lost meanwhile; the next connection calls them again
                log.warning("broker was not told all", extra={"reason": why})

    def _dispatch(self, message: aiomqtt.Message) -> None:
        delivery = _delivery(message)
        levels = tuple(delivery.topic.split("/"))
        for _, filter_, callback in self._filters:
            if matches(filter_, levels):
                callback(delivery)
                return

    async def _subscribe_all(self, client: aiomqtt.Client) -> None:
        """A refusal of one filter is no end: the broker's rules may be what this connection has to repair."""
        for filter_, _, _ in self._filters:
            kept = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
            handling = kept if filter_ in self._retained else SubscribeOptions.RETAIN_DO_NOT_SEND
            options = SubscribeOptions(qos=1, noLocal=True, retainHandling=handling)
            for granted in await client.subscribe(filter_, options=options):
                if isinstance(granted, ReasonCode) and granted.is_failure:
                    log.warning("broker refuses a subscription", extra={"filter": filter_, "reason": granted})

    def _new_client(self) -> aiomqtt.Client:
        config = self._config
        properties = _properties(PacketTypes.CONNECT)
        properties.MaximumPacketSize = _MAX_PACKET_BYTES
        client = _Client(
            config.host,
            config.port,
            logger=_paho_log,
            identifier=self._user,
            username=self._user,
            password=self._password,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            keepalive=_KEEPALIVE_SECONDS,
            max_queued_incoming_messages=_MAX_QUEUED,
            properties=properties,
            socket_options=_SOCKET_OPTIONS,
        )
        client.pending_calls_threshold = 1000  # it only warns
        return client


def _is_refusal(why: BaseException | None) -> bool:
    return isinstance(why, aiomqtt.MqttCodeError) and isinstance(why.rc, ReasonCode) and why.rc.value in _REFUSALS


def _delivery(message: aiomqtt.Message) -> Delivery:
    properties = message.properties
    return Delivery(
        str(message.topic),
        message.payload,
        message.qos,
        message.retain,
        False,
        message.mid,
        getattr(properties, "ContentType", ""),
        tuple(getattr(properties, "UserProperty", ())),
        getattr(properties, "CorrelationData", b""),
        getattr(properties, "ResponseTopic", ""),
        getattr(properties, "MessageExpiryInterval", None),
    )
