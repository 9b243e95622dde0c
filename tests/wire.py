"""The WAN between store and central, as a TCP relay on loopback that can be cut."""

import contextlib
import selectors
import socket
import threading


class Wire:
    """Relays connections to `target`. `cut()` resets what is open and refuses what is new; `mend()` ends that."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._whole = True
        self._closed = False
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    def cut(self) -> None:
        with self._lock:
            self._whole = False
            for each in self._open:
                _reset(each)

    def mend(self) -> None:
        with self._lock:
            self._whole = True

    def close(self) -> None:
        self._closed = True
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target, 5.0) if self._whole else None
            except OSError:
                far = None
            if far is None:
                _reset(near)
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            threading.Thread(target=self._relay, args=(near, far), daemon=True).start()

    def _relay(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as selector:
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            moved = True
            while moved:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]  # only sockets are registered
                    moved = bool(data)
                    if not moved:
                        break
                    key.data.sendall(data)
        with self._lock:
            self._open -= {near, far}
        for each in (near, far):
            each.close()


def _reset(connection: socket.socket) -> None:
    """Wake whoever reads it; SO_LINGER 0 turns the close that follows into a reset."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.shutdown(socket.SHUT_RDWR)
