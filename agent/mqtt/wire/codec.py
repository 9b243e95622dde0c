"""MQTT 5 packets (OASIS, 2019), as far as a subscriber in bulk needs them. Pure.

Written for PUBLISH with QoS 1 and without properties, which is nearly everything: docs/decisions/0054 has the figures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import pack
from typing import cast

from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.wire.fields import (
    CONTENT_TYPE,
    CORRELATION,
    EXPIRY,
    KEEPALIVE,
    OF_CONNACK,
    OF_PUBLISH,
    OF_SUBACK,
    RESPONSE_TOPIC,
    MalformedError,
    Reader,
    characters,
    text,
    variable,
)

MAX_PACKET_BYTES = 256 * 1024
"""Twice what a record takes. What is between is refused, counted and logged; what is above, the broker drops for us."""
MAX_DELIVERIES = 1000
"""What is handed over at once, and so is one group commit. Research: 180,000 messages a second at 100 a commit, 270,000
at 1,000. A kill repeats the batch that was just written, and central knows a copy among its newest 4,000."""

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"

# The session never expires (3.1.2.11.2): a box that was off for a month still gets what the broker kept.
_NEVER = 0xFFFFFFFF
# No-local, retained messages only with a new subscription, QoS 2 (3.8.3.1).
_SUBSCRIBED = b"\x16"
# Topics are kept once read: then each is decoded and checked once, and hashed once by whoever looks it up.
_MAX_TOPICS = 8192
_MAX_TOPIC_BYTES = 512
_NO_PROPERTIES = ("", (), b"", "", None)
# tuple.__new__'s own type says nothing of the element type.
_new = cast("Callable[[type[Delivery], tuple[object, ...]], Delivery]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]


@dataclass(frozen=True, slots=True)
class Connack:
    """`reason` is below 128 when we are in. `keepalive_seconds`: what the broker wants instead of what we said."""

    session_present: bool
    reason: int
    keepalive_seconds: int | None


@dataclass(frozen=True, slots=True)
class Suback:
    """A reason for each filter, in order: the QoS that was granted, or 128 and more."""

    packet_id: int
    reasons: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pubrel:
    packet_id: int


@dataclass(frozen=True, slots=True)
class Pingresp:
    pass


@dataclass(frozen=True, slots=True)
class Disconnect:
    reason: int


Control = Connack | Suback | Pubrel | Pingresp | Disconnect


# --- to the broker ---------------------------------------------------------------------------------


def connect(
    client_id: str,
    username: str,
    password: bytes | None,
    *,
    keepalive_seconds: int,
    receive_maximum: int,
    max_packet_bytes: int = MAX_PACKET_BYTES,
) -> bytes:
    """Resume the session. No user name when `username` is empty. ValueError when a text is too long."""
    properties = pack(">BIBHBI", 0x11, _NEVER, 0x21, receive_maximum, 0x27, max_packet_bytes)
    flags = (0x80 if username else 0) | (0 if password is None else 0x40)
    body = text("MQTT") + pack(">BBH", 5, flags, keepalive_seconds) + variable(len(properties)) + properties
    body += text(client_id)
    if username:
        body += text(username)
    if password is not None:
        body += pack(">H", len(password)) + password
    return b"\x10" + variable(len(body)) + body


def subscribe(packet_id: int, filters: Sequence[str]) -> bytes:
    body = pack(">HB", packet_id, 0) + b"".join(text(each) + _SUBSCRIBED for each in filters)
    return b"\x82" + variable(len(body)) + body


def acknowledge(deliveries: Sequence[Delivery]) -> bytes:
    """PUBACK for each of QoS 1, PUBREC for each of QoS 2, in order."""
    words: list[int] = []
    for delivery in deliveries:
        if delivery.packet_id:
            words += (0x4002 if delivery.qos == 1 else 0x5002, delivery.packet_id)
    return pack(f">{len(words)}H", *words)


def complete(packet_id: int) -> bytes:
    """PUBCOMP."""
    return pack(">HH", 0x7002, packet_id)


# --- from the broker -------------------------------------------------------------------------------


class Decoder:
    """Keeps nothing of the stream: what isn't whole yet is brought again, with more behind it."""

    def __init__(self) -> None:
        self._topics: dict[bytes, str] = {}
        self.needed = 2
        """How many bytes it takes, from the first packet that wasn't whole, to go on with it."""

    def feed(  # noqa: C901  the one loop that each message goes through: a call more for each is a third slower
        self, data: bytes, deliveries: list[Delivery], controls: list[Control], begin: int = 0
    ) -> int:
        """Append what is whole from `begin` on, in order, until `deliveries` has MAX_DELIVERIES.

        Answers where in `data` that ends.
        Raises MalformedError when the first packet is bad. Nothing can be read after it.
        """
        at, end = begin, len(data)
        topics, new, append = self._topics, _new, deliveries.append
        try:
            while end - at > 1 and len(deliveries) < MAX_DELIVERIES:
                first, length, body = data[at], data[at + 1], at + 2
                if length > 0x7F:
                    if end > body and data[body] < 0x80:  # two bytes of length, the usual
                        length = length & 0x7F | data[body] << 7
                        body += 1
                    else:
                        length, body = _long_length(data, at)
                        if not body:
                            self.needed = end - at + 1
                            return at
                follows = body + length
                if follows > end:
                    self.needed = follows - at
                    return at
                if first & 0xF6 == 0x32 and length > 4:  # PUBLISH, QoS 1
                    topic_end = body + 2 + (data[body] << 8 | data[body + 1])
                    # Without properties, their length, 0, is the byte before the payload.
                    if topic_end + 2 < follows and not data[topic_end + 2]:
                        topic = topics.get(data[body + 2 : topic_end])
                        packet_id = data[topic_end] << 8 | data[topic_end + 1]
                        if topic is not None and packet_id:
                            fields = (
                                topic,
                                data[topic_end + 3 : follows],
                                1,
                                first & 1 == 1,
                                first & 8 == 8,
                                packet_id,
                            )
                            append(new(Delivery, fields + _NO_PROPERTIES))
                            at = follows
                            continue
                if first & 0xF0 == 0x30:
                    append(self._publish(first, data[body:follows]))
                else:
                    controls.append(_control(first, data[body:follows]))
                at = follows
        except MalformedError:
            if at == begin:
                raise
        self.needed = 2
        return at

    def _publish(self, first: int, body: bytes) -> Delivery:
        """Any PUBLISH. One whose packet id can be read, but not all of the rest, gets an empty topic."""
        reader = Reader(body)
        qos, raw = first >> 1 & 3, reader.binary()
        packet_id = reader.number(2) if qos else 0
        if qos == 3 or bool(qos) != bool(packet_id):
            raise MalformedError(f"a PUBLISH with QoS {qos} and packet id {packet_id}")
        try:
            topic, found = self._topic(raw), reader.properties(OF_PUBLISH)
        except MalformedError:
            return Delivery("", b"", qos, first & 1 == 1, first & 8 == 8, packet_id)
        return Delivery(
            topic,
            reader.rest(),
            qos,
            first & 1 == 1,
            first & 8 == 8,
            packet_id,
            found.texts.get(CONTENT_TYPE, ""),
            tuple(found.user),
            found.binaries.get(CORRELATION, b""),
            found.texts.get(RESPONSE_TOPIC, ""),
            found.numbers.get(EXPIRY),
        )

    def _topic(self, raw: bytes) -> str:
        topic = self._topics.get(raw)
        if topic is None:
            topic = characters(raw)
            if not topic:
                raise MalformedError("a PUBLISH without a topic")
            if len(raw) <= _MAX_TOPIC_BYTES:
                if len(self._topics) >= _MAX_TOPICS:
                    self._topics.clear()
                self._topics[raw] = topic
        return topic


def first_control(data: bytes, most_bytes: int) -> tuple[Control | None, int]:
    """What `data` begins with, which is no PUBLISH, and its length; None while it isn't whole: then how much it takes.

    Raises MalformedError, also for more than `most_bytes`.
    """
    length, body = _long_length(data, 0)
    if not body:
        return None, len(data) + 1
    follows = body + length
    if follows > most_bytes:
        raise MalformedError(f"a control packet of {follows} bytes")
    if follows > len(data):
        return None, follows
    return _control(data[0], data[body:follows]), follows


def _long_length(data: bytes, at: int) -> tuple[int, int]:
    """The remaining length of the packet at `at` and where its body begins: 0 if that isn't known yet."""
    length = 0
    for digit in range(4):
        where = at + 1 + digit
        if where >= len(data):
            return 0, 0
        length |= (data[where] & 0x7F) << 7 * digit
        if data[where] < 0x80:
            if length > MAX_PACKET_BYTES:
                raise MalformedError(f"a packet of {length} bytes")
            return length, where + 1
    raise MalformedError("a remaining length of more than four bytes")


def _control(first: int, body: bytes) -> Control:
    reader = Reader(body)
    match first:
        case 0x20:
            present, reason = reader.number(1), reader.number(1)
            found: Control = Connack(present & 1 == 1, reason, reader.properties(OF_CONNACK).numbers.get(KEEPALIVE))
        case 0x62:
            # A reason and properties may follow (3.6.2.1): whatever they say, the answer is the same.
            return Pubrel(reader.number(2))
        case 0x90:
            packet_id, _ = reader.number(2), reader.properties(OF_SUBACK)
            found = Suback(packet_id, tuple(reader.rest()))
        case 0xD0:
            found = Pingresp()
        case 0xE0:
            # Properties may follow, in which the broker says more about why: nothing that could be acted on.
            return Disconnect(reader.number(1) if body else 0)
        case _:
            raise MalformedError(f"a packet that begins with 0x{first:02x}")
    if reader.rest():
        raise MalformedError(f"too long a packet that begins with 0x{first:02x}")
    return found
