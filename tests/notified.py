"""What systemd is to a part that notifies: it hears that it is ready, and keeps its sockets over a restart."""

import contextlib
import fcntl
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

# exec'd again: the process id stays. bash, because dash reads no descriptor above 9.
_HAND_OVER = '{0}; export LISTEN_PID=$$ LISTEN_FDS={1} LISTEN_FDNAMES="$0"; exec "$@"'
# Above those that the started process is given.
_OWN_FD = 200
_MOST = 16  # FileDescriptorStoreMax= of edge-agent.service


class Notified:
    """One part's, over all its restarts. Sockets are handed over newest first, as systemd's own list is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        path.chmod(0o666)
        self._ready, self._read = threading.Event(), threading.Event()
        self._kept: dict[str, int] = {}
        self._thread = threading.Thread(target=self._hear, name=path.name, daemon=True)
        self._thread.start()

    def start(self, argv: Sequence[str]) -> tuple[list[str], tuple[int, ...]]:
        """How to start the part, and the descriptors to leave open: sd_listen_fds(3)."""
        self._ready.clear()
        self._catch_up()
        if not self._kept:
            return list(argv), ()
        kept = list(reversed(self._kept.items()))
        moves = "; ".join(f"exec {number}<&{fd} {fd}<&-" for number, (_, fd) in enumerate(kept, 3))
        names = ":".join(name for name, _ in kept)
        hand_over = _HAND_OVER.replace("{0}", moves).replace("{1}", str(len(kept)))
        return ["bash", "-c", hand_over, names, *argv], tuple(fd for _, fd in kept)

    def is_ready(self, seconds: float) -> bool:
        return self._ready.wait(seconds)

    def forget(self) -> None:
        """The part was stopped, not restarted."""
        self._catch_up()
        for fd in self._kept.values():
            os.close(fd)
        self._kept.clear()

    def close(self) -> None:
        self.forget()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _catch_up(self) -> None:
        """As systemd does before it sees that a process has ended."""
        self._read.clear()
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as own:
            own.sendto(b"SYNC=1", str(self.path))
        assert self._read.wait(10)

    def _hear(self) -> None:
        while True:
            message, fds, _, _ = socket.recv_fds(self._socket, 4096, 8)
            if not message:
                return
            said = dict(line.partition("=")[::2] for line in message.decode().splitlines())
            if "FDSTORE" in said:
                (came,) = fds
                fd: int = fcntl.fcntl(came, fcntl.F_DUPFD_CLOEXEC, _OWN_FD)
                os.close(came)
                if any(os.path.sameopenfile(known, fd) for known in self._kept.values()):
                    os.close(fd)
                else:
                    assert said["FDNAME"] not in self._kept, "the one before was not removed"
                    assert len(self._kept) < _MOST, "systemd would not keep it"
                    self._kept[said["FDNAME"]] = fd
            elif "FDSTOREREMOVE" in said:
                if (fd := self._kept.pop(said["FDNAME"], -1)) >= 0:
                    os.close(fd)
            elif "READY" in said:
                self._ready.set()
            elif "SYNC" in said:
                self._read.set()
