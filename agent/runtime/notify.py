"""sd_notify(3): tells systemd how the daemon is, and has it keep sockets. Silent without NOTIFY_SOCKET."""

import contextlib
import logging
import os
import socket
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

_log = logging.getLogger(__name__)

_FIRST_FD = 3  # SD_LISTEN_FDS_START


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

    def store(self, name: str, sock: socket.socket) -> bool:
        """Whether `sock` was handed to systemd. What it has already it takes no second time.

        Not dropped when its peer is gone (FDPOLL=0): then what came last is still to be read.
        """
        return self._send("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", fds=(sock.fileno(),))

    def remove(self, name: str) -> None:
        self._send("FDSTOREREMOVE=1", f"FDNAME={name}")

    def _send(self, *lines: str, fds: Sequence[int] = ()) -> bool:
        if not self.address:
            return False
        path = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)) as sock:
                sock.settimeout(1.0)  # a full queue of systemd's must not hold the loop
                sock.connect(path)
                socket.send_fds(sock, ["\n".join(lines).encode()], list(fds))
        except OSError as error:
            _log.warning("systemd can't be notified: %s", error, extra={"message_lost": lines[0]})
            return False
        return True


_NOBODY = Notifier()
_NOTHING: Mapping[str, socket.socket] = {}


class KeptSockets:
    """TCP connections that outlive the process: systemd has a copy of each (its file descriptor store)."""

    def __init__(self, notifier: Notifier = _NOBODY, left: Mapping[str, socket.socket] = _NOTHING) -> None:
        self._notifier = notifier
        self._left = dict(left)

    @classmethod
    def from_environ(cls, notifier: Notifier, environ: MutableMapping[str, str], pid: int) -> "KeptSockets":
        """What a process before this one (`pid`) left (sd_listen_fds(3)). To be called once, before anything is opened.

        Its variables are taken out of `environ`: they are not for our children.
        """
        count, names = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_FDNAMES", "").split(":")
        if environ.pop("LISTEN_PID", "") != str(pid) or not count.isdecimal():
            return cls(notifier)
        left: dict[str, socket.socket] = {}
        for fd, name in zip(range(_FIRST_FD, _FIRST_FD + int(count)), names, strict=False):
            os.set_inheritable(fd, False)
            try:
                sock = socket.socket(fileno=fd)
            except OSError:  # no socket
                os.close(fd)
                continue
            if name in left or sock.proto != socket.IPPROTO_TCP:
                sock.close()
                continue
            sock.setblocking(False)
            left[name] = sock
        return cls(notifier, left)

    def take(self, name: str) -> dict[str, socket.socket]:
        """The connections left under this name, or it and a dot and more, alive or dead. The others are nobody's."""
        found = {each: self._left.pop(each) for each in list(self._left) if each == name or each.startswith(f"{name}.")}
        for other, sock in self._left.items():
            self.remove(other)
            sock.close()
        self._left.clear()
        return found

    def store(self, name: str, sock: socket.socket) -> bool:
        """Have it kept from now on; False when there is nobody who would."""
        return self._notifier.store(name, sock)

    def remove(self, name: str) -> None:
        self._notifier.remove(name)


def _line(text: str) -> str:
    """Each line of a message is an assignment: a line end within a text would begin another."""
    return " ".join(text.split())
