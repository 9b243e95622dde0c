"""The connections of one session, one behind the other: an old one that is still to be read, and the new one.

While nothing can be stored, a broker that was killed and is back needs somebody to write to: what it must queue dies
with it when it is killed again. So a new connection is made as soon as the old one has ended, and the sockets in the
kernel are the inbox, the oldest first: order is kept over them. systemd keeps them all.
"""

import asyncio
import fcntl
import logging
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from agent.config.schema import MqttConfig
from agent.errors import AwayError
from agent.mqtt.wire import codec
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.wire.intake import CONNECT_SECONDS, Intake
from agent.mqtt.wire.session import KEEPALIVE_SECONDS
from agent.runtime.notify import KeptSockets

log = logging.getLogger(__name__)

# As many as edge-agent.service lets systemd keep. A broker that dies so often while the disk is full is another fault.
MOST = 16
# All of it is memory of the kernel's, counted as the agent's (MemoryMax=): no other connection above this.
MOST_UNREAD_BYTES = 16 << 20
# As much as the kernel gives (net.core.rmem_max): what the broker wrote is not lost, what it must queue dies with it.
RECEIVE_BUFFER_BYTES = 16 << 20

Deliver = Callable[[Intake, list[Delivery], bool], None]


class _Place(NamedTuple):
    intake: Intake
    sock: socket.socket
    number: int
    is_kept: bool


class Line:
    """Only the first delivers. One that is lost leaves the line, and the next is the first."""

    def __init__(
        self,
        config: MqttConfig,
        user: str,
        password: str,
        filters: tuple[str, ...],
        deliver: Deliver,
        session_lost: Callable[[], None],
        kept: KeptSockets,
    ) -> None:
        """The session is that of `user`, whose client id is the same.

        `deliver` is called in the loop, in order, with the messages of each batch, and whether some of it may have been
        acknowledged or recorded by a process before this one. `session_lost` is called before the first message of a
        session that the broker began anew.
        """
        self._config = config
        self._user = user
        self._password = password
        self._filters = filters
        self._deliver = deliver
        self._session_lost = session_lost
        self._kept = kept
        self._where = f"broker at {config.host}:{config.port}"
        self._name = f"mqtt-{config.host}-{config.port}".replace(":", ".")
        self._places: deque[_Place] = deque()
        self._again: Intake | None = None

    @property
    def newest(self) -> Intake | None:
        return self._places[-1].intake if self._places else None

    async def adopt(self) -> None:
        """What a process before this one left, in the order in which it was made."""
        taken = self._kept.take(self._name)
        left = [(self._number(name), taken[name]) for name in sorted(taken, key=self._number)]
        for number, sock in left:
            place = _Place(self._intake(sock, adopted=True), sock, number, is_kept=True)
            await place.intake.open(b"")
            # What a process before us was killed over is all in the first look: it recorded no more at once.
            if self._again is None and _unread_bytes(place):
                self._again = place.intake
            self._join(place)

    async def connect(self) -> Intake:
        """Another one, at the end of the line. Raises AwayError: the broker is away or refuses us, or it's too many."""
        unread = sum(map(_unread_bytes, self._places))
        if len(self._places) >= MOST or unread >= MOST_UNREAD_BYTES:
            raise AwayError(f"{self._where}: {len(self._places)} connections with {unread} bytes are still to be read")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                sock = await _dial(self._config.host, self._config.port)
        except TimeoutError:
            raise AwayError(f"{self._where}: no answer in {CONNECT_SECONDS:.0f} s") from None
        except OSError as why:
            raise AwayError(f"{self._where}: {why}") from why
        intake = self._intake(sock)
        try:
            await intake.open(self._hello(sock))
        except TimeoutError:
            intake.close()
            raise AwayError(f"{self._where}: no answer in {CONNECT_SECONDS:.0f} s") from None
        except BaseException:
            intake.close()
            raise
        number = self._places[-1].number + 1 if self._places else 0
        self._join(_Place(intake, sock, number, self._kept.store(self._named(number), sock)))
        return intake

    def close(self) -> None:
        """The session stays with the broker, and what systemd keeps is still open."""
        places, self._places = list(self._places), deque()
        for place in places:
            place.intake.close(kept=place.is_kept)

    def _intake(self, sock: socket.socket, *, adopted: bool = False) -> Intake:
        return Intake(sock, self._filters, self._hand_on, self._session_lost, adopted=adopted)

    def _hello(self, sock: socket.socket) -> bytes:
        return codec.connect(
            self._user,
            self._user,
            self._password.encode(),
            keepalive_seconds=KEEPALIVE_SECONDS,
            receive_maximum=self._config.receive_maximum,
            # A packet must be whole in the kernel to be read. Linux doubles what it was asked for, for its own use.
            max_packet_bytes=min(codec.MAX_PACKET_BYTES, sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2),
        )

    def _hand_on(self, intake: Intake, deliveries: list[Delivery]) -> None:
        again = intake is self._again
        if again:
            self._again = None
        self._deliver(intake, deliveries, again)

    def _join(self, place: _Place) -> None:
        self._places.append(place)
        place.intake.on_lost(lambda: self._leave(place))
        if len(self._places) == 1:
            place.intake.lead()

    def _leave(self, place: _Place) -> None:
        """Before the next delivers: systemd must not bring this one back in front of it."""
        if place not in self._places:
            return
        was_first = self._places[0] is place
        self._places.remove(place)
        self._kept.remove(self._named(place.number))
        place.intake.close()
        if was_first and self._places:
            self._places[0].intake.lead()

    def _named(self, number: int) -> str:
        return f"{self._name}.{number}" if number else self._name

    def _number(self, name: str) -> int:
        digits = name.removeprefix(self._name).removeprefix(".")
        return int(digits) if digits.isdecimal() else 0


def _unread_bytes(place: _Place) -> int:
    return int(struct.unpack("i", fcntl.ioctl(place.sock, termios.FIONREAD, bytes(4)))[0])


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
