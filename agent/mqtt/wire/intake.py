"""The bulk connection: a persistent session, acknowledged only when told, and read no further than that.

The kernel's socket is the inbox. What it holds is looked at (MSG_PEEK), and taken out only when it was acknowledged: so
it always stands at the beginning of a packet, and nothing that the broker wrote is lost with this process. systemd
keeps the socket, and the next process goes on where this one was. Nor is it lost with the broker: only reading ends a
connection.
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
from agent.mqtt.wire.reasons import said
from agent.runtime.notify import KeptSockets

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 10.0
_KEEPALIVE_SECONDS = 60
# More than a thousand messages of 200 bytes, and the biggest packet with its header.
READ_BYTES = codec.MAX_PACKET_BYTES + 5
# As much as the kernel gives (net.core.rmem_max): what the broker wrote is not lost, what it must queue dies with it.
RECEIVE_BUFFER_BYTES = 16 << 20
# The kernel may wake us early when it is short of memory.
_EARLY_SECONDS = 0.02
_SUBSCRIBE_ID = 1
_TCP_ESTABLISHED = 1

Deliver = Callable[["Intake", list[Delivery], bool], None]


class Intake:
    """One connection to the broker. It stays usable after it is lost: what is done on it then leads nowhere.

    One batch is out at a time: the next is read when it was acknowledged. Until then the connection can't be lost: the
    broker may be gone, but what it left is still to be read.
    """

    def __init__(
        self,
        sock: socket.socket,
        filters: tuple[str, ...],
        deliver: Deliver,
        session_lost: Callable[[], None],
        *,
        adopted: bool = False,
    ) -> None:
        """`adopted`: the connection is one that another process made."""
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._filters = filters
        self._deliver = deliver
        self._session_lost = session_lost
        self._decoder = codec.Decoder()
        self._unsent = bytearray()
        self._writable = True
        self._again = False
        self._out_bytes = 0
        self._acknowledged = False
        self._awaited_bytes = 1
        self._parting = ""
        self._heard = True
        self._ping: asyncio.TimerHandle | None = None
        self._keepalive_seconds = _KEEPALIVE_SECONDS
        self._welcomed: asyncio.Future[None] = self._loop.create_future()
        self._subscribed: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        if adopted:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            self._welcomed.set_result(None)

    @property
    def is_lost(self) -> bool:
        return self._lost.done()

    async def open(self, hello: bytes) -> None:
        """Returns when the subscription stands; messages may be delivered before. Raises AwayError, TimeoutError.

        An adopted connection says no hello, but what it wants it says again: that may be more than before.
        """
        self._listen()
        if self._welcomed.done():
            # Of what a process before us was killed over, all is in the first look: it took no more at once.
            self._again = True
            self._read()
            self._again = False
            self._send(codec.subscribe(_SUBSCRIBE_ID, self._filters))
        else:
            self._send(hello)
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._first(self._welcomed)
        self._ping = self._loop.call_later(self._keepalive_seconds / 2, self._keep_alive)
        # Without a bound: while the disk is full, what comes before the SUBACK isn't read.
        await self._first(self._subscribed)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """PUBACK or PUBREC for each of a batch, in one write; then it is taken out of the kernel, and reading goes on.

        In this order, so that a kill leaves no message that is neither acknowledged nor there.
        """
        self._acknowledged = True
        self._send(codec.acknowledge(deliveries))
        self._settle()

    async def lost(self) -> None:
        """Wait until the connection is lost and all that came over it was acknowledged; always raises AwayError."""
        await asyncio.shield(self._lost)

    def close(self, *, kept: bool = False) -> None:
        """The session stays with the broker; if the socket is `kept` by somebody, so does the connection."""
        if not kept:
            self._send(codec.DISCONNECT)
        self._end("closed by us")
        self._sock.close()

    async def _first(self, wanted: asyncio.Future[None]) -> None:
        await asyncio.wait((wanted, self._lost), return_when=asyncio.FIRST_COMPLETED)
        if self._lost.done():
            self._lost.result()

    def _listen(self) -> None:
        if not self._lost.done():
            self._loop.add_reader(self._sock, self._read)

    def _read(self) -> None:
        """One look, one delivery of all that was whole in it."""
        try:
            data = self._sock.recv(READ_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as why:
            # Linux gives everything that had arrived before it says ECONNRESET.
            self._end(self._parting or str(why))
            return
        if not data:
            self._end(self._parting or "the broker closed the connection")
            return
        # A look alone is no reading to the kernel: it would put off its ACK, and the broker's the next packets.
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        deliveries: list[Delivery] = []
        controls: list[codec.Control] = []
        try:
            size_bytes = self._decoder.feed(data, deliveries, controls)
        except MalformedError as why:
            self._end(f"not MQTT 5: {why}")
            return
        if not size_bytes:
            self._await_rest(self._decoder.needed)
            return
        self._heard = True
        self._wake_at(1)
        # First, because a CONNACK comes before all messages. Where among them a PUBREL came doesn't matter.
        for control in controls:
            self._handle(control)
        self._out_bytes = size_bytes
        if deliveries:
            self._loop.remove_reader(self._sock)
            self._deliver(self, deliveries, self._again)
        else:
            self._take_out()

    def _await_rest(self, needed_bytes: int) -> None:
        """The first packet isn't whole: sleep until it is, or until no more can come."""
        if self._ended() and len(self._sock.recv(needed_bytes, socket.MSG_PEEK)) < needed_bytes:
            self._end(self._parting or "the broker closed the connection in the middle of a packet")
        elif needed_bytes == self._awaited_bytes:
            self._loop.remove_reader(self._sock)
            self._loop.call_later(_EARLY_SECONDS, self._listen)
        else:
            self._wake_at(needed_bytes)

    def _wake_at(self, size_bytes: int) -> None:
        if size_bytes != self._awaited_bytes:
            self._awaited_bytes = size_bytes
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)

    def _ended(self) -> bool:
        """The first byte of struct tcp_info is the state."""
        return self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _TCP_ESTABLISHED

    def _settle(self) -> None:
        """Not before every acknowledgement is in the kernel: one that died with us would never be made up for."""
        if self._acknowledged and not self._unsent and not self._lost.done():
            self._acknowledged = False
            self._take_out()
            self._listen()

    def _take_out(self) -> None:
        size_bytes, self._out_bytes = self._out_bytes, 0
        self._sock.recv(size_bytes, socket.MSG_TRUNC)  # tcp(7): thrown away in the kernel, not copied
        if self._parting:
            self._end(self._parting)

    def _handle(self, control: codec.Control) -> None:
        match control:
            case codec.Pubrel(packet_id):
                self._send(codec.complete(packet_id))
            case codec.Connack(present, reason, keepalive_seconds):
                if not self._welcomed.done():
                    self._welcome(present, reason, keepalive_seconds)
            case codec.Suback(_, reasons):
                refused = [f"{f}: {said(r)}" for f, r in zip(self._filters, reasons, strict=False) if r >= 0x80]
                if refused or len(reasons) != len(self._filters):
                    self._parting = f"subscription refused: {', '.join(refused) or 'not by its number of filters'}"
                elif not self._subscribed.done():
                    self._subscribed.set_result(None)
            case codec.Disconnect(reason):
                self._parting = said(reason)
            case codec.Pingresp():
                pass

    def _welcome(self, session_present: bool, reason: int, keepalive_seconds: int | None) -> None:
        if reason >= 0x80:
            self._parting = said(reason)
            return
        self._keepalive_seconds = keepalive_seconds or _KEEPALIVE_SECONDS
        if not session_present:
            self._session_lost()
        self._welcomed.set_result(None)
        self._send(codec.subscribe(_SUBSCRIBE_ID, self._filters))

    def _keep_alive(self) -> None:
        """A broker that is not there any more, or hangs, is told by its silence: one and a half keepalives."""
        if self._lost.done():
            return
        listening = not self._out_bytes
        if not self._heard and listening:
            self._end(f"silent for {self._keepalive_seconds} s")
            return
        self._heard = not listening
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
        self._settle()

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
    kept: KeptSockets,
) -> AsyncGenerator[Intake, None]:
    """Resume the session of `user`, whose client id is the same, subscribed to `filters`: over a kept connection first.

    `deliver` is called in the loop, in order, with the messages of each batch, and whether some of it may have been
    acknowledged or recorded by a process before this one. `session_lost` is called before the first of them when the
    broker knows no session of ours.

    Raises AwayError when the broker is away or refuses us.
    """
    where = f"broker at {config.host}:{config.port}"
    name = f"mqtt-{config.host}-{config.port}".replace(":", ".")
    sock = kept.take(name)
    is_kept = sock is not None
    if sock is None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                sock = await _dial(config.host, config.port)
        except TimeoutError:
            raise AwayError(f"{where}: no answer in {_CONNECT_SECONDS:.0f} s") from None
        except OSError as why:
            raise AwayError(f"{where}: {why}") from why
    hello = codec.connect(
        user,
        user,
        password.encode(),
        keepalive_seconds=_KEEPALIVE_SECONDS,
        receive_maximum=config.receive_maximum,
        # A packet must be whole in the kernel to be read. Linux doubles what it was asked for, for its own use.
        max_packet_bytes=min(codec.MAX_PACKET_BYTES, sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2),
    )
    intake = Intake(sock, filters, deliver, session_lost, adopted=is_kept)
    try:
        try:
            await intake.open(hello)
        except TimeoutError:
            raise AwayError(f"{where}: no answer in {_CONNECT_SECONDS:.0f} s") from None
        is_kept = kept.store(name, sock)
        yield intake
    finally:
        if intake.is_lost:
            kept.remove(name)
        intake.close(kept=is_kept)


async def _dial(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    why: OSError = OSError("no such host")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
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
