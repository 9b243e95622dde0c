"""What rules remember of topics."""

from dataclasses import replace

from agent.mqtt.rules.compile import compile_rules
from agent.mqtt.rules.memory import Memory
from agent.spec import DeviceRule

RATE = DeviceRule("#", max_per_minute=3)


def test_a_topic_is_remembered_until_others_need_the_place() -> None:
    memory, (rule,) = Memory(max_topics=2), compile_rules([RATE]).rules
    first = memory.of("a", rule, 0.0)
    memory.of("b", rule, 0.0)
    assert memory.of("a", rule, 1.0) is first
    memory.of("c", rule, 0.0)  # "b" was unheard of for longest
    assert memory.of("a", rule, 2.0) is first and len(memory) == 2


def test_another_rule_begins_anew_and_an_equal_one_goes_on() -> None:
    memory = Memory()
    (rule,), (equal,), (other,) = (
        compile_rules([each]).rules for each in (RATE, replace(RATE), replace(RATE, max_per_minute=4))
    )
    first = memory.of("a", rule, 0.0)
    assert memory.of("a", equal, 1.0) is first
    assert memory.of("a", other, 2.0) is not first
    assert memory.of("a", other, 2.0).tokens == 4.0


def test_made_up_topics_take_no_more_than_their_place() -> None:
    memory, (rule,) = Memory(max_topics=100), compile_rules([RATE]).rules
    for number in range(10_000):
        memory.of(f"devices/{number}/x", rule, 0.0)
    assert len(memory) == 100
