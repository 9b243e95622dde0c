"""The compiled tree finds what asking each rule in turn would find."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.errors import RefusedError
from agent.mqtt.rules.compile import Rule, RuleSet, compile_rules
from agent.mqtt.topics import is_filter, matches
from agent.spec import DeviceRule, Residency

LEVELS = ["", "a", "b", "$a", "devices", "é"]
topics = st.lists(st.sampled_from(LEVELS), max_size=5).map(lambda rest: "/".join(["devices", *rest]))
filters = st.tuples(
    st.lists(st.sampled_from([*LEVELS, "+"]), max_size=4), st.sampled_from([["x"], ["#"], ["+"], [""], []])
).map(lambda parts: "/".join(["devices", *parts[0], *parts[1]]))
# What no rule may be, but the matcher must be right about all the same.
free = st.text(alphabet="a/+#$", min_size=1, max_size=6).filter(is_filter)


def naive(rules: list[str], topic: str) -> str | None:
    return next((each for each in rules if matches(tuple(each.split("/")), tuple(topic.split("/")))), None)


@given(st.lists(filters | st.just("#"), max_size=8), st.lists(topics, min_size=1, max_size=4))
@example(["devices/a/#", "devices/a"], ["devices/a"])
@example(["devices/+/b", "devices/a/#"], ["devices/a/b"])
def test_the_tree_agrees_with_one_rule_after_the_other(rules: list[str], seen: list[str]) -> None:
    found = compile_rules([DeviceRule(each) for each in rules])
    for topic in seen * 2:  # the second time from what is remembered
        rule = found.find(topic)
        assert (rule.spec.filter if rule else None) == naive(rules, topic)


@given(st.lists(free, min_size=1, max_size=6), st.text(alphabet="a/$+#", min_size=1, max_size=6))
@example(["#"], "$SYS/a")
@example(["+/a"], "$a/a")
@example(["$a/#"], "$a/a")
def test_the_tree_agrees_for_any_filter_and_any_topic(rules: list[str], topic: str) -> None:
    compiled = [Rule(DeviceRule(text), False, True, True, (), ()) for text in rules]
    rule = RuleSet(compiled).find(topic)
    assert (rule.spec.filter if rule else None) == naive(rules, topic)


def test_what_is_remembered_is_bounded() -> None:
    found = compile_rules([DeviceRule("devices/+/a")])
    for number in range(10_000):
        found.find(f"devices/{number}/a")
    assert len(found._known) <= 4096
    assert found.find("devices/1/a") is not None


@pytest.mark.parametrize(
    ("rule", "stays", "passes", "shown"),
    [
        (DeviceRule("#"), False, True, True),
        (DeviceRule("#", undecoded=True, priority=1), False, True, True),
        (DeviceRule("#", forward=False), True, False, False),
        (DeviceRule("#", residency=Residency.STORE), True, False, False),
        (DeviceRule("#", sample_every=2), False, False, True),
        (DeviceRule("#", redact=("a",)), False, False, False),
    ],
)
def test_a_compiled_rule_says_what_need_not_be_asked_for_each_message(
    rule: DeviceRule, stays: bool, passes: bool, shown: bool
) -> None:
    (found,) = compile_rules([rule]).rules
    assert (found.stays, found.passes, found.shown) == (stays, passes, shown)


def test_one_bad_rule_refuses_the_whole_set_and_is_named_with_its_field() -> None:
    with pytest.raises(RefusedError) as refused:
        compile_rules([DeviceRule("devices/#"), DeviceRule("+/camera/#")])
    assert refused.value.reason == "BAD_REQUEST"
    assert str(refused.value).startswith("device rule 2 ('+/camera/#'): filter: must begin with devices/")
