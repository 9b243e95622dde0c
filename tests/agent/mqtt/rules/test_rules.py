"""The rules in force, and who waits behind whom."""

import pytest

from agent.errors import RefusedError
from agent.model import DeviceMessage
from agent.mqtt.rules.backlog import Backlog
from agent.mqtt.rules.judge import Hold, Pass
from agent.mqtt.rules.rules import Rules
from agent.spec import DeviceRule, Residency

KEEPS = DeviceRule("devices/+/camera/#", residency=Residency.STORE)
TOPIC = "devices/d/camera/1"


def decides(rules: Rules, topic: str = TOPIC) -> DeviceRule | None:
    rule = rules.find(topic)
    return rule.spec if rule else None


def test_what_expires_before_it_is_held_keeps_nobody_waiting() -> None:
    backlog = Backlog()
    rules = Rules(backlog)
    rules.set_central([DeviceRule("devices/#", batch_seconds=60)])
    rule = rules.find("devices/a/b")
    assert rule is not None
    rules.judge(rule, "devices/a/b", b"1", 0.0)
    assert backlog.topics == {"devices/a/b": 1}
    rules.gone("devices/a/b")
    assert backlog.topics == {}


def test_what_was_chosen_on_site_is_asked_before_central() -> None:
    rules = Rules(Backlog())
    rules.set_central([DeviceRule("#", priority=9)])
    rules.set_operator([KEEPS])
    assert decides(rules) == KEEPS
    rules.set_central([DeviceRule("devices/d/camera/1")])
    assert decides(rules) == KEEPS
    rules.set_operator([])
    assert decides(rules) == DeviceRule("devices/d/camera/1")


@pytest.mark.parametrize("setter", ["set_central", "set_operator"])
def test_a_bad_rule_is_refused_and_the_old_set_stays(setter: str) -> None:
    rules = Rules(Backlog())
    getattr(rules, setter)([KEEPS])
    with pytest.raises(RefusedError, match="device rule 2"):
        getattr(rules, setter)([DeviceRule("#"), DeviceRule("+/x")])
    assert decides(rules) == KEEPS


def test_a_change_is_told_and_the_same_rules_again_are_none() -> None:
    told: list[int] = []
    rules = Rules(Backlog(), lambda: told.append(1))
    rules.set_central([KEEPS])
    rules.set_central([KEEPS])
    assert told == [1]


def test_what_the_rules_remember_survives_a_change_that_does_not_touch_them() -> None:
    rules, rate = Rules(Backlog()), DeviceRule("devices/#", max_per_minute=1)
    rules.set_central([rate])
    first = rules.find("devices/d/x")
    assert first is not None
    assert isinstance(rules.judge(first, "devices/d/x", b"", 0.0), Pass)
    rules.set_operator([KEEPS])
    again = rules.find("devices/d/x")
    assert again is not None
    assert not isinstance(rules.judge(again, "devices/d/x", b"", 0.0), Pass)


def test_a_held_message_makes_its_topic_wait_and_no_other() -> None:
    backlog = Backlog()
    rules = Rules(backlog)
    rules.set_central([DeviceRule("devices/+/slow", batch_seconds=60)])
    rule = rules.find("devices/d/slow")
    assert rule is not None
    rules.judge(rule, "devices/d/slow", b"", 0.0)
    assert "devices/d/slow" in rules.waiting and "devices/d/fast" not in rules.waiting
    assert rules.behind("devices/d/slow") == Hold(0.0)
    assert backlog.topics == {"devices/d/slow": 2}


def test_what_is_held_is_asked_again_as_it_leaves() -> None:
    rules, message = Rules(Backlog()), DeviceMessage("d", TOPIC, b"x")
    assert rules.still(message) is message
    rules.set_operator([KEEPS])
    assert rules.still(message) is None


def test_what_a_loud_device_says_has_the_lowest_priority_and_keeps_its_rules() -> None:
    rules = Rules(Backlog())
    rules.set_operator([KEEPS, DeviceRule("devices/+/alarm", priority=9)])
    rules.set_loud(frozenset({"d"}))
    alarm, other = rules.find("devices/d/alarm"), rules.find("devices/d/x")
    assert alarm is not None and alarm.spec == DeviceRule("devices/+/alarm", priority=0)
    assert other is not None and other.passes and other.shown and other.spec.priority == 0
    camera = rules.find(TOPIC)
    assert camera is not None and camera.stays
    assert decides(rules, "devices/e/alarm") == DeviceRule("devices/+/alarm", priority=9)
    assert decides(rules, "devices/e/x") is None
    rules.set_operator([])
    assert decides(rules, "devices/d/alarm") == DeviceRule("#", priority=0)
    rules.set_loud(frozenset())
    assert decides(rules, "devices/d/alarm") is None
