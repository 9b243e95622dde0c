"""Topics, filters and rules."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.mqtt.topics import (
    ROOTS,
    DeviceTopic,
    Kind,
    ack_topic,
    command_topic,
    is_device_id,
    is_filter,
    matches,
    parse,
)

ALPHABET = ["", "a", "b", "$a", "$SYS", "devices", "é"]
topics = st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=5).map("/".join).filter(bool)
filters = (
    st.tuples(
        st.lists(st.sampled_from([*ALPHABET, "+"]), min_size=0, max_size=4),
        st.sampled_from([[], ["#"]]),
    )
    .map(lambda parts: "/".join(parts[0] + parts[1]))
    .filter(bool)
)


def reference(text: str, topic: str) -> bool:
    """MQTT 5, 4.7, as a regular expression, level by level."""
    if topic.startswith("$") and text[0] in "+#":
        return False
    pattern = "/".join("[^/]*" if level == "+" else re.escape(level) for level in text.split("/"))
    if text == "#":
        pattern = ".*"
    elif text.endswith("/#"):
        pattern = pattern.removesuffix("/" + re.escape("#")) + "(/.*)?"
    return re.fullmatch(pattern, topic, re.DOTALL) is not None


def hit(text: str, topic: str) -> bool:
    return matches(tuple(text.split("/")), tuple(topic.split("/")))


@given(filters, topics)
@example("+", "$SYS")
@example("a/#", "a")
@example("a/+", "a")
@example("/+", "/a")
@example("+/+", "/a")
def test_the_matcher_agrees_with_a_slow_reference(text, topic):
    assert is_filter(text)
    assert hit(text, topic) == reference(text, topic)


@given(st.text(alphabet="a/+#$", min_size=0, max_size=8))
def test_a_filter_is_valid_when_wildcards_stand_alone_and_hash_is_last(text):
    levels = text.split("/")
    valid = bool(text) and all(re.fullmatch(r"[^+#]*|\+|#", level) for level in levels) and "#" not in levels[:-1]
    assert is_filter(text) == valid


@pytest.mark.parametrize(
    ("text", "topic", "expected"),
    [
        ("devices/+/temp", "devices/fridge-1/temp", True),
        ("devices/+/temp", "devices/fridge-1/temp/raw", False),
        ("devices/fridge-1/#", "devices/fridge-1", True),
        ("devices/#", "device/fridge-1/temp", False),
        ("#", "$SYS/broker/uptime", False),
        ("$SYS/#", "$SYS/broker/uptime", True),
        ("devices/+/+", "devices/fridge-1/$temp", True),
    ],
)
def test_known_filters(text, topic, expected):
    assert hit(text, topic) is expected


@pytest.mark.parametrize(
    ("topic", "kind", "channel", "command"),
    [
        ("devices/fridge-1/temp", Kind.CHANNEL, "temp", ""),
        ("devices/a.b_C-9/x/y/z", Kind.CHANNEL, "x/y/z", ""),
        ("devices/d/status", Kind.STATUS, "status", ""),
        ("devices/d/cmd/open", Kind.COMMAND, "cmd/open", "open"),
        ("devices/d/cmd/open/ack", Kind.ACK, "cmd/open/ack", "open"),
        ("devices/d/cmd/open/ack/x", Kind.CHANNEL, "cmd/open/ack/x", ""),
        ("devices/d/cmd/o.p", Kind.CHANNEL, "cmd/o.p", ""),
        ("devices/d/status/", Kind.CHANNEL, "status/", ""),
    ],
)
def test_a_topic_says_its_device_channel_and_purpose(topic, kind, channel, command):
    where = parse(topic)
    assert where is not None
    assert (where.kind, where.channel, where.command) == (kind, channel, command)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "devices",
        "devices/",
        "devices/d",
        "devices/d/",
        "devices//temp",
        "device/d/temp",
        "/devices/d/temp",
        "devices/a b/temp",
        "devices/é/temp",
        f"devices/{'d' * 65}/temp",
        f"devices/d/{'x' * 503}",
        "devices/d/x\0",
        "devices/d\n/x",
    ],
)
def test_what_is_no_device_topic_is_none(topic):
    assert parse(topic) is None


def test_the_longest_topic_is_512_bytes_of_utf8():
    assert parse("devices/d/" + "x" * 502) is not None
    assert parse("devices/d/" + "é" * 251) is not None
    assert parse("devices/d/" + "é" * 252) is None


@given(st.text(max_size=600))
def test_parse_takes_any_text(text):
    where = parse(text)
    assert where is None or text == f"devices/{where.device}/{where.channel}"


def test_command_topics_are_read_back():
    assert parse(command_topic("d", "open")) == parse("devices/d/cmd/open")
    where = parse(ack_topic("d", "open"))
    assert where is not None and where.kind is Kind.ACK and where.command == "open"


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        (
            "spBv1.0/store/NBIRTH/edge",
            DeviceTopic("edge", "NBIRTH", Kind.SPARKPLUG, group="store", message_type="NBIRTH", node="edge"),
        ),
        (
            "spBv1.0/a store/DDATA/edge 1/fridge/2",
            None,
        ),
        (
            "spBv1.0/a store/DDATA/edge 1/fridge",
            DeviceTopic(
                "edge_1.fridge",
                "DDATA",
                Kind.SPARKPLUG,
                group="a store",
                message_type="DDATA",
                node="edge 1",
                unit="fridge",
            ),
        ),
        (
            "spBv1.0/g/NCMD/edge",
            DeviceTopic("edge", "NCMD", Kind.COMMAND, group="g", message_type="NCMD", node="edge"),
        ),
        ("spBv1.0/STATE/host", None),
        ("spBv1.0/g/NDATA/edge/device", None),
        ("spBv1.0/g/DDATA/edge", None),
        ("spBv1.0/g/DDATA/edge/", None),
        ("spBv1.0/g/XDATA/edge", None),
        ("spBv1.0/g/NDATA/", None),
        ("spBv1.0/g/DDATA//x", None),
        (f"spBv1.0/g/DDATA/{'n' * 40}/{'d' * 40}", None),
        ("zigbee2mqtt/Living room", DeviceTopic("Living_room", "", Kind.ZIGBEE)),
        ("zigbee2mqtt/0x00158d0001e1a5f5/raw", DeviceTopic("0x00158d0001e1a5f5", "raw", Kind.ZIGBEE)),
        ("zigbee2mqtt/lamp/availability", DeviceTopic("lamp", "availability", Kind.STATUS)),
        ("zigbee2mqtt/lamp/set", DeviceTopic("lamp", "set", Kind.COMMAND)),
        ("zigbee2mqtt/lamp/get/state", DeviceTopic("lamp", "get/state", Kind.COMMAND)),
        ("zigbee2mqtt/bridge/state", DeviceTopic("bridge", "state", Kind.STATUS)),
        ("zigbee2mqtt/bridge/request/restart", DeviceTopic("bridge", "request/restart", Kind.COMMAND)),
        ("zigbee2mqtt/bridge/devices", DeviceTopic("bridge", "devices", Kind.ZIGBEE)),
        ("zigbee2mqtt/", None),
        ("homeassistant/sensor/fridge/config", DeviceTopic("fridge", "sensor/config", Kind.DISCOVERY)),
        ("homeassistant/sensor/node/temp/config", DeviceTopic("node", "sensor/temp/config", Kind.DISCOVERY)),
        ("homeassistant/status", None),
        ("homeassistant/sensor/fridge/state", None),
        ("homeassistant//fridge/config", None),
    ],
)
def test_topics_of_others_say_whose_they_are(topic: str, expected: DeviceTopic | None):
    assert parse(topic) == expected


@given(st.sampled_from(ROOTS), st.lists(st.text(max_size=20), max_size=5))
def test_whatever_is_below_a_root_names_a_device_or_nothing(root: str, levels: list[str]):
    where = parse("/".join([root, *levels]))
    assert where is None or is_device_id(where.device)
