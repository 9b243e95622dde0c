"""What MQTT 5 packets are made of (OASIS, 2019, 1.5 and 2.2.2): texts, numbers, properties. Pure."""

from dataclasses import dataclass, field
from struct import pack

# Properties (2.2.2.2): how wide those are that are numbers, and which are texts. What is neither is binary data.
_NUMBERS = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
_TEXTS = frozenset((0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F))
_SUBSCRIPTION, _USER = 0x0B, 0x26

EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION, KEEPALIVE = 0x02, 0x03, 0x08, 0x09, 0x13
# Which properties a packet to us may have (3.2.2.3, 3.3.2.3, 3.9.2.1). No topic alias (0x23): we allow none.
OF_PUBLISH = frozenset((0x01, EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION, _SUBSCRIPTION, _USER))
OF_SUBACK = frozenset((0x1F, _USER))
OF_CONNACK = frozenset((0x11, 0x12, KEEPALIVE, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, *range(0x24, 0x2B)))


class MalformedError(Exception):
    """What came is not MQTT 5 from a broker to a subscriber."""


@dataclass(slots=True)
class Properties:
    """By number; user properties in order. A number is kept for each that may come once."""

    numbers: dict[int, int] = field(default_factory=dict[int, int])
    texts: dict[int, str] = field(default_factory=dict[int, str])
    binaries: dict[int, bytes] = field(default_factory=dict[int, bytes])
    user: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


class Reader:
    """Reads `data` from `at` on; past its end is a MalformedError."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, width: int) -> int:
        return int.from_bytes(self._take(width), "big")

    def variable(self) -> int:
        """A variable byte integer (1.5.5)."""
        number = 0
        for shift in (0, 7, 14, 21):
            digit = self.number(1)
            number |= (digit & 0x7F) << shift
            if digit < 0x80:
                return number
        raise MalformedError("a length of more than four bytes")

    def binary(self) -> bytes:
        return self._take(self.number(2))

    def text(self) -> str:
        return characters(self.binary())

    def rest(self) -> bytes:
        taken, self.at = self.data[self.at :], len(self.data)
        return taken

    def properties(self, allowed: frozenset[int]) -> Properties:
        """The block of properties that begins here, with its length."""
        found = Properties()
        end = self.variable() + self.at
        if end > len(self.data):
            raise MalformedError("properties that reach beyond their packet")
        while self.at < end:
            self._property(found, allowed)
        if self.at != end:
            raise MalformedError("a property that reaches beyond the properties")
        return found

    def _property(self, found: Properties, allowed: frozenset[int]) -> None:
        which = self.number(1)
        if which not in allowed:
            raise MalformedError(f"property {which}, which doesn't belong there")
        if which == _USER:
            found.user.append((self.text(), self.text()))
            return
        if which == _SUBSCRIPTION:  # may come again: one for each subscription that matched
            found.numbers[which] = self.variable()
            return
        if which in found.numbers or which in found.texts or which in found.binaries:
            raise MalformedError(f"property {which} twice")
        if which in _NUMBERS:
            found.numbers[which] = self.number(_NUMBERS[which])
        elif which in _TEXTS:
            found.texts[which] = self.text()
        else:
            found.binaries[which] = self.binary()

    def _take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise MalformedError("a packet that ends too early")
        taken, self.at = self.data[self.at : end], end
        return taken


def characters(raw: bytes) -> str:
    """UTF-8 without U+0000 (1.5.4)."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as why:
        raise MalformedError("text that is not UTF-8") from why
    if "\0" in text:
        raise MalformedError("text with U+0000")
    return text


def text(characters: str) -> bytes:
    """As it is written; ValueError when it can't be: over 65,535 bytes, or no characters."""
    data = characters.encode()
    if len(data) > 0xFFFF:
        raise ValueError(f"{len(data)} bytes are too many for a text of MQTT")
    return pack(">H", len(data)) + data


def variable(number: int) -> bytes:
    """A variable byte integer, below 2**28."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*digits, number))
