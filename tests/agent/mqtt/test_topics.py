"""Topics, filters and rules."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.errors import RefusedError
from agent.mqtt.topics import Kind, RuleSet, Verdict, ack_topic, command_topic, compile_rules, is_filter, matches, parse
from agent.spec import DeviceRule, Residency

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


def test_the_first_rule_that_matches_decides():
    rules = compile_rules(
        (
            DeviceRule("devices/cam-1/thumb", priority=2),
            DeviceRule("devices/+/thumb", forward=False),
            DeviceRule("devices/+/camera/#", residency=Residency.STORE, priority=9),
            DeviceRule("#", priority=1),
        )
    )
    assert rules.decide("devices/cam-1/thumb") == Verdict(forward=True, priority=2)
    assert rules.decide("devices/cam-2/thumb").forward is False
    assert rules.decide("devices/x/camera/a").forward is False
    assert rules.decide("devices/x/temp") == Verdict(forward=True, priority=1)


def test_without_a_matching_rule_a_message_is_forwarded_with_priority_5():
    assert RuleSet().decide("devices/d/temp") == Verdict(forward=True, priority=5)


def test_residency_store_wins_over_forward():
    rules = compile_rules((DeviceRule("devices/#", forward=True, residency=Residency.STORE),))
    assert rules.decide("devices/d/x").forward is False


@pytest.mark.parametrize(
    "rule",
    [
        DeviceRule(""),
        DeviceRule("devices/a#"),
        DeviceRule("devices/#/a"),
        DeviceRule("devices/a+/b"),
        DeviceRule("+/camera/#"),  # looks right and would match nothing: what it keeps in would leave
        DeviceRule("fridge-1/#"),
        DeviceRule("$share/g/devices/#"),
        DeviceRule("devices/" + "x" * 505),
        DeviceRule("devices/a\0"),
        DeviceRule("devices/#", priority=10),
        DeviceRule("devices/#", priority=-1),
    ],
)
def test_one_bad_rule_refuses_the_whole_set_and_is_named(rule):
    with pytest.raises(RefusedError, match="device rule 2") as refused:
        compile_rules((DeviceRule("devices/#"), rule))
    assert refused.value.reason == "BAD_REQUEST"
