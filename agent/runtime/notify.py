"""sd_notify(3): tells systemd how the daemon is. Silent where nobody asked (no NOTIFY_SOCKET)."""

import contextlib
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notifier:
    """`address` is a path, or `@name` in the abstract namespace; empty when nobody listens."""

    address: str = ""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Notifier":
        return cls(environ.get("NOTIFY_SOCKET", ""))

    def ready(self, status: str) -> None:
        self._send("READY=1", f"STATUS={_line(status)}")

    def stopping(self, status: str) -> None:
        self._send("STOPPING=1", f"STATUS={_line(status)}")

    def reloading(self, monotonic_usec: int) -> None:
        """`monotonic_usec` is CLOCK_MONOTONIC in µs, which Type=notify-reload insists on; `ready` ends the reload."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_usec}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        self._send(f"STATUS={_line(text)}")

    def _send(self, *lines: str) -> None:
        if not self.address:
            return
        path = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)) as sock:
                sock.settimeout(1.0)  # a full queue of systemd's must not hold the loop
                sock.sendto("\n".join(lines).encode(), path)
        except OSError as error:
            _log.warning("systemd can't be notified: %s", error, extra={"message_lost": lines[0]})


def _line(text: str) -> str:
    """Each line of a message is an assignment: a line end within a text would begin another."""
    return " ".join(text.split())
