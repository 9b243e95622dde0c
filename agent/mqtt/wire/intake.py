"""The bulk connection: a persistent session, read as fast as it is written, acknowledged only when told.

A plain socket, no asyncio transport: when the broker is killed, what it had written is in our kernel, and must be read
to its last byte. A transport drops it once a write fails or the loss is seen; here only reading can end a connection.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from agent.config.schema import MqttConfig
from agent.errors import AwayError
from agent.mqtt.wire import codec
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.wire.fields import MalformedError

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 10.0
_KEEPALIVE_SECONDS = 60
# Below the size from which malloc maps and unmaps each block. Some 280 messages of 200 bytes.
READ_BYTES = 64 * 1024
# As much as the kernel gives (net.core.rmem_max): what the broker could write before it was killed is not lost.
_RECEIVE_BUFFER_BYTES = 4 << 20
_SUBSCRIBE_ID = 1

_REASONS = {
    0x81: "malformed packet",
    0x82: "protocol error",
    0x85: "client id not valid",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8B: "server shutting down",
    0x8D: "keepalive timeout",
    0x8E: "session taken over",
    0x8F: "topic filter invalid",
    0x93: "receive maximum exceeded",
    0x95: "packet too large",
    0x97: "quota exceeded",
    0x98: "administrative action",
}

Deliver = Callable[["Intake", list[Delivery], int], None]


class Intake:
    """One connection to the broker. It stays usable after it is lost: what is done on it then leads nowhere.

    While it is paused it can't be lost: the broker may be gone, but what it left is still to be read.
    """

    def __init__(self, sock: socket.socket, deliver: Deliver, session_lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._deliver = deliver
        self._session_lost = session_lost
        self._decoder = codec.Decoder()
        self._unsent = bytearray()
        self._writable = True
        self._paused = False
        self._heard = False
        self._ping: asyncio.TimerHandle | None = None
        self._keepalive_seconds = _KEEPALIVE_SECONDS
        self._subscribed: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._filters: tuple[str, ...] = ()

    async def open(self, hello: bytes, filters: tuple[str, ...]) -> None:
        """Returns when the subscription stands; messages may be delivered before. Raises AwayError."""
        self._filters = filters
        self._loop.add_reader(self._sock, self._read)
        self._send(hello)
        await asyncio.wait((self._subscribed, self._lost), return_when=asyncio.FIRST_COMPLETED)
        if self._lost.done():
            self._lost.result()
        self._ping = self._loop.call_later(self._keepalive_seconds / 2, self._keep_alive)

    def pause(self) -> None:
        """Read no more: TCP then holds the broker back.

        The receive maximum alone does not: mosquitto 2.0.11 forgets it with the first PUBACK (its issue 2301).
        """
        if not self._paused and not self._lost.done():
            self._paused = True
            self._loop.remove_reader(self._sock)

    def resume(self) -> None:
        if self._paused and not self._lost.done():
            self._paused = False
            self._heard = True
            self._loop.add_reader(self._sock, self._read)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """PUBACK or PUBREC for each, in one write. On a lost connection they go nowhere; the broker delivers again."""
        self._send(codec.acknowledge(deliveries))

    async def lost(self) -> None:
        """Wait until the connection is lost and all that came over it was delivered; always raises AwayError."""
        await asyncio.shield(self._lost)

    def close(self) -> None:
        """The session stays with the broker."""
        self._send(codec.DISCONNECT)
        self._end("closed by us")
        self._sock.close()

    def _read(self) -> None:
        """One read, one delivery of all that was whole in it."""
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as why:
            # Linux gives everything that had arrived before it says ECONNRESET.
            self._end(str(why))
            return
        if not data:
            self._end("the broker closed the connection")
            return
        self._heard = True
        deliveries: list[Delivery] = []
        controls: list[codec.Control] = []
        malformed = ""
        try:
            self._decoder.feed(data, deliveries, controls)
        except MalformedError as why:
            malformed = f"not MQTT 5: {why}"
        # First, because a CONNACK comes before all messages. Where among them a PUBREL came doesn't matter.
        for control in controls:
            self._handle(control)
        if deliveries:
            self._deliver(self, deliveries, len(data))
        if malformed:
            self._end(malformed)

    def _handle(self, control: codec.Control) -> None:
        match control:
            case codec.Pubrel(packet_id):
                self._send(codec.complete(packet_id))
            case codec.Connack(present, reason, keepalive_seconds):
                self._welcome(present, reason, keepalive_seconds)
            case codec.Suback(_, reasons):
                refused = [f"{f}: {_why(r)}" for f, r in zip(self._filters, reasons, strict=False) if r >= 0x80]
                if refused or len(reasons) != len(self._filters):
                    self._end(f"subscription refused: {', '.join(refused) or 'not by its number of filters'}")
                elif not self._subscribed.done():
                    self._subscribed.set_result(None)
            case codec.Disconnect(reason):
                self._end(_why(reason))
            case codec.Pingresp():
                pass

    def _welcome(self, session_present: bool, reason: int, keepalive_seconds: int | None) -> None:
        if reason >= 0x80:
            self._end(_why(reason))
            return
        self._keepalive_seconds = keepalive_seconds or _KEEPALIVE_SECONDS
        if not session_present:
            self._session_lost()
        self._send(codec.subscribe(_SUBSCRIBE_ID, self._filters))

    def _keep_alive(self) -> None:
        """A broker that is not there any more, or hangs, is told by its silence: one and a half keepalives."""
        if self._lost.done():
            return
        if not self._heard and not self._paused:
            self._end(f"silent for {self._keepalive_seconds} s")
            return
        self._heard = False
        self._send(codec.PINGREQ)
        self._ping = self._loop.call_later(self._keepalive_seconds / 2, self._keep_alive)

    def _send(self, data: bytes) -> None:
        """A write that fails is no loss yet: there may be more to read, and its end says the same."""
        if self._lost.done() or not data:
            return
        self._unsent += data
        if self._writable:
            self._flush()

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as why:
            log.debug("broker takes no more", extra={"reason": why})
            sent = len(self._unsent)
        del self._unsent[:sent]
        writable = not self._unsent
        if writable and not self._writable:
            self._loop.remove_writer(self._sock)
        elif self._writable and not writable:
            self._loop.add_writer(self._sock, self._flush)
        self._writable = writable

    def _end(self, why: str) -> None:
        if self._lost.done():
            return
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        if self._ping is not None:
            self._ping.cancel()
        self._lost.set_exception(AwayError(f"broker: {why}"))
        self._lost.exception()  # seen, also when nobody waits for it


@asynccontextmanager
async def connect(
    config: MqttConfig,
    user: str,
    password: str,
    filters: tuple[str, ...],
    deliver: Deliver,
    session_lost: Callable[[], None],
) -> AsyncGenerator[Intake, None]:
    """Resume the session of `user`, whose client id is the same, subscribed to `filters`.

    `deliver` is called in the loop, in order, with the messages of each read and how many bytes they took.
    `session_lost` is called before the first of them when the broker knows no session of ours.

    Raises AwayError when the broker is away or refuses us.
    """
    hello = codec.connect(
        user,
        user,
        password.encode(),
        keepalive_seconds=_KEEPALIVE_SECONDS,
        receive_maximum=config.receive_maximum,
    )
    where = f"broker at {config.host}:{config.port}"
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            sock = await _dial(config.host, config.port)
    except TimeoutError:
        raise AwayError(f"{where}: no answer in {_CONNECT_SECONDS:.0f} s") from None
    except OSError as why:
        raise AwayError(f"{where}: {why}") from why
    intake = Intake(sock, deliver, session_lost)
    try:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await intake.open(hello, filters)
        except TimeoutError:
            raise AwayError(f"{where}: no answer in {_CONNECT_SECONDS:.0f} s") from None
        yield intake
    finally:
        intake.close()


async def _dial(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    why: OSError = OSError("no such host")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
            await loop.sock_connect(sock, address)
        except OSError as failed:
            sock.close()
            why = failed
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise why


def _why(reason: int) -> str:
    return _REASONS.get(reason, f"reason 0x{reason:02x}")
