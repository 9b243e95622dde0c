"""MQTT 5 packets as bytes, also such as no library would send, and a connection that says what came back. For tests."""

import socket
import struct
from pathlib import Path

CLOSED = -1
_CONNACK, _PUBACK, _SUBACK, _PINGRESP, _DISCONNECT = 0x20, 0x40, 0x90, 0xD0, 0xE0


def number(value: int) -> bytes:
    """Variable byte integer (1.5.5)."""
    made = b""
    while True:
        value, low = divmod(value, 128)
        made += bytes([low | (0x80 if value else 0)])
        if not value:
            return made


def text(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + number(len(body)) + body


def connect(client_id: bytes, user: bytes, password: bytes, *, will: bytes = b"", expiry: int = 0) -> bytes:
    flags = 0xC2 | (0x0C if will else 0)
    properties = b"\x11" + struct.pack(">I", expiry)
    body = text(b"MQTT") + bytes([5, flags]) + struct.pack(">H", 60) + number(len(properties)) + properties
    body += text(client_id) + (b"\0" + text(will) + text(b"last words") if will else b"")
    return packet(0x10, body + text(user) + text(password))


def publish(topic: bytes, *, alias: int | None = None, qos: int = 1, retain: bool = False) -> bytes:
    properties = b"" if alias is None else b"\x23" + struct.pack(">H", alias)
    head = 0x30 | qos << 1 | retain
    return packet(head, text(topic) + (b"\0\x07" if qos else b"") + number(len(properties)) + properties + b"raw")


def subscribe(*filters: bytes, identifier: int | None = None) -> bytes:
    properties = b"" if identifier is None else b"\x0b" + number(identifier)
    body = b"\0\x09" + number(len(properties)) + properties + b"".join(text(each) + b"\x01" for each in filters)
    return packet(0x82, body)


class Raw:
    """A connection to the socket at `path`."""

    def __init__(self, path: Path, name: str, password: str, *, client_id: str = "", will: bytes = b"") -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(5)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")
        asked = connect((client_id or name).encode(), name.encode(), password.encode(), will=will)
        self.connected = self.ask(asked)

    def ask(self, sent: bytes) -> int:
        """The (last) reason code of the answer; CLOSED when the broker ends the connection instead, said or not."""
        try:
            self._socket.sendall(sent)
            while True:
                kind, body = self._next()
                if kind == _CONNACK:
                    return body[1]
                if kind == _PUBACK:
                    return body[2] if len(body) > 2 else 0
                if kind == _SUBACK:
                    return body[-1]
                if kind in (_DISCONNECT, 0):
                    return CLOSED
        except (ConnectionError, BrokenPipeError):
            return CLOSED

    def lives(self) -> bool:
        """It answers a ping."""
        try:
            self._socket.sendall(b"\xc0\0")
            while (kind := self._next()[0]) not in (_PINGRESP, _DISCONNECT, 0):
                pass
        except (ConnectionError, BrokenPipeError):
            return False
        return kind == _PINGRESP

    def vanish(self) -> None:
        """Without a word: the broker says the will."""
        self._file.close()
        self._socket.close()

    def _next(self) -> tuple[int, bytes]:
        head = self._file.read(1)
        if not head:
            return 0, b""
        length, shift = 0, 0
        while True:
            (byte,) = self._file.read(1)
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return head[0] & 0xF0, self._file.read(length)
