"""What goes out over a plain non-blocking socket: what the kernel doesn't take at once waits."""

import asyncio
import logging
import socket
from collections.abc import Callable

log = logging.getLogger(__name__)


class Sender:
    """A write that fails is thrown away: it is no loss yet. There may be more to read, and its end says the same."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, sent: Callable[[], None]) -> None:
        """`sent` is called after each write."""
        self._loop = loop
        self._sock = sock
        self._sent = sent
        self._unsent = bytearray()
        self._waits = False

    @property
    def is_empty(self) -> bool:
        """The kernel has all of it."""
        return not self._unsent

    def send(self, data: bytes) -> None:
        self._unsent += data
        if data and not self._waits:
            self._flush()

    def close(self) -> None:
        """The socket stays open."""
        self._loop.remove_writer(self._sock)

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as why:
            log.debug("broker takes no more", extra={"reason": why})
            sent = len(self._unsent)
        del self._unsent[:sent]
        if self._unsent and not self._waits:
            self._loop.add_writer(self._sock, self._flush)
        elif self._waits and not self._unsent:
            self._loop.remove_writer(self._sock)
        self._waits = bool(self._unsent)
        self._sent()
