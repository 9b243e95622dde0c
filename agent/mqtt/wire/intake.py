"""The bulk connection: a persistent session, acknowledged only when told, and read no further than that.

The kernel's socket is the inbox. What it holds is looked at (MSG_PEEK), and taken out only when it was acknowledged: so
it always stands at the beginning of a packet, and nothing that the broker wrote is lost with this process. systemd
keeps the socket, and the next process goes on where this one was. Nor is it lost with the broker: only reading ends a
connection.

Two batches may be out: while the first is being written, the second is looked at behind it. It isn't recorded before
the first was taken out (Bridge). So whatever a killed process recorded or acknowledged, and left in the kernel, is in
the first look of the next one, which reaches at least as far.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence

from agent.errors import AwayError
from agent.mqtt.wire import codec
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.wire.fields import MalformedError
from agent.mqtt.wire.sender import Sender
from agent.mqtt.wire.session import Session

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
# More than a thousand messages of 200 bytes, and the biggest packet with its header.
READ_BYTES = codec.MAX_PACKET_BYTES + 5
# What must have come behind a batch that is being written, to be worth a batch of its own: else each would be of a few.
_WORTH_BYTES = 64 * 1024
_MOST_OUT = 2
# The kernel may wake us early when it is short of memory.
_EARLY_SECONDS = 0.02
# How often a connection that isn't read is asked whether the broker has ended it.
_WATCH_SECONDS = 0.1
_LEAD_BYTES = 4096
_TCP_ESTABLISHED = 1

Deliver = Callable[["Intake", list[Delivery]], None]


class Intake:
    """One connection to the broker. It stays usable after it is lost: what is done on it then leads nowhere.

    It has two ends. It has ended when the broker sends no more over it; it is lost when besides all that had come was
    acknowledged. While a batch is out it can't be lost.

    Of several only the first delivers. Of the others as much is read as comes before the first message.
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
        self._session = Session(filters, adopted=adopted)
        self._deliver = deliver
        self._session_lost = session_lost
        self._decoder = codec.Decoder()
        self._sender = Sender(self._loop, sock, self._settle)
        self._is_first = False
        self._out: deque[int] = deque()
        self._acknowledged = 0
        self._awaited_bytes = 1
        self._heard = True
        self._ping: asyncio.TimerHandle | None = None
        self._watching: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self.settled = asyncio.Event()
        """What was acknowledged is out of the kernel."""
        self.settled.set()
        if adopted:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    @property
    def is_new(self) -> bool:
        """The broker knew no session of ours."""
        return self._session.is_new

    @property
    def is_lost(self) -> bool:
        return self._lost.done()

    @property
    def is_connected(self) -> bool:
        """The broker is there and the subscription stands."""
        return self._session.subscribed.done() and not self._ended.done()

    @property
    def is_over(self) -> bool:
        """No more comes over it."""
        return self._ended.done() or self._tcp_is_over()

    async def open(self, hello: bytes) -> None:
        """Returns when the broker has let us in; no message is delivered before `lead`. Raises AwayError, TimeoutError.

        An adopted connection says no hello, but what it wants it says again: that may be more than before.
        """
        self._listen()
        if self._session.welcomed.done():
            self._send(self._session.subscribe())
        else:
            self._send(hello)
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._first(self._session.welcomed)
        self._ping = self._loop.call_later(self._session.keepalive_seconds / 2, self._keep_alive)

    def lead(self) -> None:
        """It is the first now: its messages are delivered."""
        self._is_first = True
        if self.is_new:
            self._session_lost()
        self._wake_at(1)
        self._listen()

    async def subscribed(self) -> None:
        """Wait until the subscription stands, as long as it takes: while the disk is full, nothing is read."""
        await self._first(self._session.subscribed)

    async def ended(self) -> None:
        """Wait until no more comes over it: all that did may still wait to be read. Always raises AwayError."""
        await asyncio.shield(self._ended)

    async def lost(self) -> None:
        """Wait until all that came over it was acknowledged as well; always raises AwayError."""
        await asyncio.shield(self._lost)

    def on_lost(self, call: Callable[[], None]) -> None:
        self._lost.add_done_callback(lambda _: call())

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """PUBACK or PUBREC for each of the oldest batch that is out, in one write; then it leaves the kernel.

        In this order, so that a kill leaves no message that is neither acknowledged nor there.
        """
        if self._lost.done():
            return
        self._acknowledged += 1
        self.settled.clear()
        self._send(codec.acknowledge(deliveries))
        self._settle()

    def close(self, *, kept: bool = False) -> None:
        """The session stays with the broker; if the socket is `kept` by somebody, so does the connection."""
        if not kept:
            self._send(codec.DISCONNECT)
        self._end("closed by us")
        self._sock.close()

    async def _first(self, wanted: asyncio.Future[None]) -> None:
        await asyncio.wait((wanted, self._ended), return_when=asyncio.FIRST_COMPLETED)
        if not wanted.done():
            self._ended.result()

    def _listen(self) -> None:
        if not self._lost.done():
            self._loop.add_reader(self._sock, self._read)

    def _read(self) -> None:
        if not self._is_first:
            self._read_ahead()
        elif self._out:
            self._look_behind(sum(self._out))
        else:
            self._look()

    def _look(self) -> None:
        """One look, one delivery of all that was whole in it."""
        data = self._peek(READ_BYTES)
        if data is None:
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
        # First, because a CONNACK comes before all messages. Where among them a PUBREL came doesn't matter.
        for control in controls:
            self._send(self._session.answer(control))
        if deliveries:
            self._put_out(size_bytes, deliveries)
        else:
            self._wake_at(1)
            self._take_out(size_bytes)

    def _look_behind(self, out_bytes: int) -> None:
        """Behind the batch that is out. Whatever isn't a plain success waits until that one is acknowledged."""
        self._loop.remove_reader(self._sock)
        if len(self._out) >= _MOST_OUT or self._session.parting:
            return
        try:
            data = self._sock.recv(out_bytes + READ_BYTES, socket.MSG_PEEK)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            deliveries: list[Delivery] = []
            controls: list[codec.Control] = []
            size_bytes = self._decoder.feed(data, deliveries, controls, out_bytes) - out_bytes
        except (OSError, MalformedError):
            return
        # Without a message it is left too: two looks of the next process must reach at least as far as two of ours.
        if deliveries:
            for control in controls:
                self._send(self._session.answer(control))
            self._put_out(size_bytes, deliveries)

    def _put_out(self, size_bytes: int, deliveries: list[Delivery]) -> None:
        self._out.append(size_bytes)
        if len(self._out) < _MOST_OUT:
            self._wake_at(size_bytes + _WORTH_BYTES)
        self._watch_soon()
        self._deliver(self, deliveries)

    def _read_ahead(self) -> None:
        """What comes before the first message. That has to wait for its turn."""
        while not self._lost.done():
            data = self._peek(_LEAD_BYTES)
            if data is None:
                return
            if data[0] & 0xF0 == 0x30:
                self._loop.remove_reader(self._sock)
                self._watch_soon()
                return
            try:
                control, size_bytes = codec.first_control(data, _LEAD_BYTES)
            except MalformedError as why:
                self._end(f"not MQTT 5: {why}")
                return
            if control is None:
                self._await_rest(size_bytes)
                return
            self._wake_at(1)
            self._send(self._session.answer(control))
            self._take_out(size_bytes)

    def _peek(self, size_bytes: int) -> bytes | None:
        """What is there; None if there is nothing, or never will be."""
        try:
            data = self._sock.recv(size_bytes, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as why:
            # Linux gives everything that had arrived before it says ECONNRESET.
            self._end(self._session.parting or str(why))
            return None
        if not data:
            self._end(self._session.parting or "the broker closed the connection")
            return None
        return data

    def _await_rest(self, needed_bytes: int) -> None:
        """The first packet isn't whole: sleep until it is, or until no more can come."""
        if self._tcp_is_over() and len(self._sock.recv(needed_bytes, socket.MSG_PEEK)) < needed_bytes:
            self._end(self._session.parting or "the broker closed the connection in the middle of a packet")
        elif needed_bytes == self._awaited_bytes:
            self._loop.remove_reader(self._sock)
            self._loop.call_later(_EARLY_SECONDS, self._listen)
        else:
            self._wake_at(needed_bytes)

    def _wake_at(self, size_bytes: int) -> None:
        if size_bytes != self._awaited_bytes:
            self._awaited_bytes = size_bytes
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)

    def _watch_soon(self) -> None:
        if self._watching is None and not self._ended.done():
            self._watching = self._loop.call_later(_WATCH_SECONDS, self._watch)

    def _watch(self) -> None:
        """Who isn't read is not seen to end."""
        self._watching = None
        if self._lost.done():
            return
        if self._tcp_is_over():
            self._fail(self._ended, self._session.parting or "the broker closed the connection")
        elif self._out or not self._is_first:
            self._watch_soon()

    def _tcp_is_over(self) -> bool:
        """The first byte of struct tcp_info is the state."""
        return self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _TCP_ESTABLISHED

    def _settle(self) -> None:
        """Not before every acknowledgement is in the kernel: one that died with us would never be made up for."""
        if not self._acknowledged or not self._sender.is_empty or self._lost.done():
            return
        size_bytes = sum(self._out.popleft() for _ in range(min(self._acknowledged, len(self._out))))
        self._acknowledged = 0
        self._take_out(size_bytes)
        self.settled.set()
        if not self._lost.done():
            self._wake_at(self._out[0] + _WORTH_BYTES if self._out else 1)
            self._listen()

    def _take_out(self, size_bytes: int) -> None:
        if size_bytes:
            self._sock.recv(size_bytes, socket.MSG_TRUNC)  # tcp(7): thrown away in the kernel, not copied
        if self._session.parting and not self._out:
            self._end(self._session.parting)

    def _keep_alive(self) -> None:
        """A broker that is not there any more, or hangs, is told by its silence: one and a half keepalives."""
        if self._lost.done():
            return
        listening = self._is_first and not self._out
        if not self._heard and listening:
            self._end(f"silent for {self._session.keepalive_seconds} s")
            return
        self._heard = not listening
        self._send(codec.PINGREQ)
        self._ping = self._loop.call_later(self._session.keepalive_seconds / 2, self._keep_alive)

    def _send(self, data: bytes) -> None:
        if not self._lost.done():
            self._sender.send(data)

    def _end(self, why: str) -> None:
        if self._lost.done():
            return
        self._loop.remove_reader(self._sock)
        self._sender.close()
        for timer in (self._ping, self._watching):
            if timer is not None:
                timer.cancel()
        self.settled.set()
        self._fail(self._ended, why)
        self._fail(self._lost, why)

    def _fail(self, future: "asyncio.Future[None]", why: str) -> None:
        if not future.done():
            future.set_exception(AwayError(f"broker: {why}"))
            future.exception()  # seen, also when nobody waits for it
