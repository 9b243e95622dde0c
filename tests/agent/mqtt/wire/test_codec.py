"""What a broker writes is read as another reader reads it, however it is cut; what isn't MQTT is the one error."""

from itertools import pairwise
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.wire import codec
from agent.mqtt.wire.codec import Connack, Control, Decoder, Disconnect, Pingresp, Pubrel, Suback
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.wire.fields import MalformedError
from tests.fakes.mqtt_packets import packet, properties, publish, text

words = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=40)
named = st.fixed_dictionaries(
    {},
    optional={
        "PayloadFormatIndicator": st.integers(0, 1),
        "MessageExpiryInterval": st.integers(0, 0xFFFFFFFF),
        "ContentType": words,
        "ResponseTopic": words.filter(lambda w: "+" not in w and "#" not in w),
        "CorrelationData": st.binary(max_size=64),
        "UserProperty": st.lists(st.tuples(words, words), min_size=1, max_size=4),
    },
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    qos = draw(st.integers(0, 2))
    return publish(
        draw(words),
        draw(st.binary(max_size=300)),
        qos=qos,
        packet_id=draw(st.integers(1, 0xFFFF)),
        dup=bool(qos) and draw(st.booleans()),
        retain=draw(st.booleans()),
        block=draw(st.one_of(st.just(b"\0"), named.map(lambda found: properties(**found)))),
    )


others = st.sampled_from([b"\x62\x02\0\7", b"\x62\x03\0\7\0", b"\xd0\0", b"\xe0\0", b"\x90\4\0\1\0\2", b"\x20\3\1\0\0"])


def decoded(*pieces: bytes) -> tuple[list[Delivery], list[Control], str]:
    """As a connection does: what isn't whole stays where it is. The third: what was wrong."""
    deliveries: list[Delivery] = []
    controls: list[Control] = []
    decoder, kept = Decoder(), b""
    try:
        for piece in pieces:
            kept += piece
            while True:
                found: list[Delivery] = []
                size = decoder.feed(kept, found, controls)
                deliveries += found
                kept = kept[size:]
                if not size:
                    break
    except MalformedError as why:
        return deliveries, controls, str(why)
    return deliveries, controls, ""


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[begin:end] for begin, end in pairwise(edges)]


# --- as another reader reads it --------------------------------------------------------------------


def paho_reads(whole: bytes) -> Delivery:
    """paho's client, and what control.py makes of its messages."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, manual_ack=True)
    found: list[paho.MQTTMessage] = []
    client.on_message = lambda _client, _userdata, message: found.append(message)
    at = 2
    while whole[at - 1] & 0x80:
        at += 1
    inside: dict[str, Any] = {"command": whole[0], "packet": bytearray(whole[at:]), "remaining_length": len(whole) - at}
    client._in_packet.update(inside)
    client._handle_publish()
    (message,) = found
    told = message.properties
    return Delivery(
        message.topic,
        bytes(message.payload),
        message.qos,
        bool(message.retain),
        bool(message.dup),
        message.mid,
        getattr(told, "ContentType", ""),
        tuple(getattr(told, "UserProperty", ())),
        getattr(told, "CorrelationData", b""),
        getattr(told, "ResponseTopic", ""),
        getattr(told, "MessageExpiryInterval", None),
    )


# paho answers a QoS 2 message at once, over a socket that isn't there.
@given(st.lists(messages().filter(lambda whole: whole[0] & 4 == 0), max_size=4))
def test_messages_read_as_paho_reads_them(stream: list[bytes]) -> None:
    assert decoded(b"".join(stream)) == ([paho_reads(each) for each in stream], [], "")


@given(st.lists(st.one_of(messages(), others), max_size=8), st.lists(st.integers(0, 5000), max_size=8))
def test_however_the_stream_is_cut_the_same_comes_out(stream: list[bytes], places: list[int]) -> None:
    whole = b"".join(stream)
    found = decoded(whole)
    assert len(found[0]) + len(found[1]) == len(stream)
    assert decoded(*cut(whole, places)) == found
    assert decoded(*(whole[at : at + 1] for at in range(len(whole)))) == found


@given(st.lists(messages(), max_size=3), st.binary(max_size=80), st.lists(st.integers(0, 500), max_size=4))
def test_garbage_gives_the_one_error_and_takes_nothing_from_what_came_before(
    stream: list[bytes], garbage: bytes, places: list[int]
) -> None:
    whole = b"".join(stream)
    found = decoded(whole + garbage)
    assert found[0][: len(stream)] == decoded(whole)[0]
    assert decoded(*cut(whole + garbage, places)) == found


@given(st.binary(max_size=200), st.integers(0, 199), st.integers(0, 255))
def test_a_changed_byte_is_a_message_or_the_one_error(payload: bytes, where: int, byte: int) -> None:
    whole = bytearray(publish("devices/d/t", payload, block=properties(ContentType="a/b", MessageExpiryInterval=3)))
    whole[where % len(whole)] = byte
    decoded(bytes(whole))


# --- what can't be read ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "whole",
    [
        publish(b"devices/\xff", b"x", packet_id=9),
        publish("", b"x", packet_id=9),
        publish("a\0b", b"x", packet_id=9),
        publish("t", b"", packet_id=9, block=b"\x03\x23\0\1"),
        publish("t", b"", packet_id=9, block=b"\x05\x03\0\2\xff\xff"),
        publish("t", b"", packet_id=9, block=b"\x7f"),
        publish("t", b"", packet_id=9, block=b""),
    ],
)
def test_a_message_that_cant_be_read_can_still_be_acknowledged(whole: bytes) -> None:
    follows = publish("t", b"next", packet_id=10)
    assert decoded(whole + follows) == (
        [Delivery("", b"", 1, False, False, 9), Delivery("t", b"next", 1, False, False, 10)],
        [],
        "",
    )


@pytest.mark.parametrize(
    ("whole", "why"),
    [
        (publish("t", qos=3), "QoS 3"),
        (publish("t", packet_id=0), "packet id 0"),
        (packet(0x32, b"\0\7t"), "too early"),
        (packet(0x30, b""), "too early"),
        (b"\x32\xff\xff\xff\xff\x01", "four bytes"),
        (b"\x32\xff\xff\xff\x7f", "a packet of 268435455 bytes"),
        (b"\x00\0", "0x00"),
        (b"\x82\0", "0x82"),
        (b"\x60\2\0\1", "0x60"),
        (b"\xd0\1\0", "too long"),
        (b"\x20\1\0", "too early"),
    ],
)
def test_what_no_broker_would_write_ends_the_stream(whole: bytes, why: str) -> None:
    before = publish("t", b"before")
    deliveries, _, found = decoded(before + whole + before)
    assert why in found
    assert [each.payload for each in deliveries] == [b"before"]


@given(messages(), st.integers(0, 400))
def test_of_a_packet_that_isnt_whole_nothing_is_taken_and_what_it_takes_is_said(whole: bytes, size: int) -> None:
    part = whole[: size % len(whole)]
    decoder, deliveries, controls = Decoder(), list[Delivery](), list[Control]()
    assert decoder.feed(part, deliveries, controls) == 0
    assert len(part) < decoder.needed <= len(whole)
    assert decoder.feed(whole + part, deliveries, controls) == len(whole)
    assert (len(deliveries), controls) == (1, [])


def test_no_more_is_taken_at_once_than_fits_one_commit() -> None:
    stream = b"".join(publish("devices/d/c", packet_id=n + 1) for n in range(2500))
    decoder, sizes = Decoder(), []
    while stream:
        found: list[Delivery] = []
        stream = stream[decoder.feed(stream, found, []) :]
        sizes.append(len(found))
    assert sizes == [1000, 1000, 500]


def test_topics_are_kept_within_bounds() -> None:
    decoder, deliveries, controls = Decoder(), list[Delivery](), list[Control]()
    seen: set[str] = set()
    for topic in [*(f"devices/{number}/t" for number in range(20_000)), "x" * 600]:
        decoder.feed(publish(topic), deliveries, controls)
        seen.add(deliveries.pop().topic)
    assert len(decoder._topics) <= 8192
    assert len(seen) == 20_001


# --- the other packets -----------------------------------------------------------------------------


def test_what_the_broker_says_besides_messages() -> None:
    stream = packet(0x20, b"\1\0" + properties(2, ServerKeepAlive=30, ReasonString="hello", ReceiveMaximum=20))
    stream += packet(0x20, b"\0\x87\0")
    stream += packet(0x90, b"\0\1\0\2\x87")
    stream += b"\x62\2\1\0" + b"\xd0\0" + b"\xe0\0" + b"\xe0\1\x8e"
    assert decoded(stream)[1] == [
        Connack(True, 0, 30),
        Connack(False, 0x87, None),
        Suback(1, (2, 0x87)),
        Pubrel(256),
        Pingresp(),
        Disconnect(0),
        Disconnect(0x8E),
    ]


def test_connect_says_who_we_are_and_that_the_session_stays() -> None:
    found = codec.connect("id", "user", b"secret", keepalive_seconds=60, receive_maximum=500)
    block = b"\x11\xff\xff\xff\xff" + b"\x21\x01\xf4" + b"\x27\0\4\0\0"
    body = text("MQTT") + b"\x05\xc0\0\x3c" + bytes((len(block),)) + block + text("id") + text("user") + text("secret")
    assert found == packet(0x10, body)
    assert codec.connect("id", "", None, keepalive_seconds=1, receive_maximum=1)[9] == 0


def test_subscriptions_are_qos_2_without_what_is_ours_and_what_was_retained_once() -> None:
    options = paho.SubscribeOptions(qos=2, noLocal=True, retainHandling=1).pack()
    expected = packet(0x82, b"\0\7\0" + text("a/#") + options + text("b") + options)
    assert codec.subscribe(7, ("a/#", "b")) == expected


def test_acknowledgements_are_one_piece_of_bytes_in_order() -> None:
    deliveries = [Delivery("t", b"", qos, False, False, n) for qos, n in ((1, 1), (0, 0), (2, 0x1234), (1, 0xFFFF))]
    assert codec.acknowledge(deliveries) == b"\x40\2\0\1" + b"\x50\2\x12\x34" + b"\x40\2\xff\xff"
    assert codec.acknowledge([]) == b""
    assert codec.complete(0x1234) == b"\x70\2\x12\x34"
