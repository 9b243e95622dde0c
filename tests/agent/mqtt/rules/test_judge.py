"""What a rule says of message after message."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import DeviceMessage, DeviceValue
from agent.mqtt.rules.compile import Rule, compile_rules
from agent.mqtt.rules.judge import Hold, Pass, Why, judge, still
from agent.mqtt.rules.memory import Memory
from agent.spec import DeadBand, DeviceRule, Residency

TOPIC = "devices/d/t"


def compiled(**fields: Any) -> Rule:
    (rule,) = compile_rules([DeviceRule("devices/#", **fields)]).rules
    return rule


def told(rule: Rule, payloads: list[bytes], *, step_seconds: float = 0.0) -> list[Pass | Why]:
    memory = Memory()
    return [judge(rule, TOPIC, each, memory, at * step_seconds) for at, each in enumerate(payloads)]


def passed(rule: Rule, payloads: list[bytes], *, step_seconds: float = 0.0) -> list[int]:
    found = told(rule, payloads, step_seconds=step_seconds)
    return [at for at, each in enumerate(found) if isinstance(each, Pass)]


@pytest.mark.parametrize("fields", [{"forward": False}, {"residency": Residency.STORE}])
def test_what_stays_stays_whatever_else_the_rule_says(fields: dict[str, Any]) -> None:
    rule = compiled(**fields, latest_seconds=5, redact=("a",))
    assert told(rule, [b"{}", b"x"]) == [Why.STAYS, Why.STAYS]


def test_a_longer_payload_stays_and_one_at_the_bound_goes() -> None:
    assert told(compiled(max_payload_bytes=3), [b"abc", b"abcd"]) == [Pass(b"abc"), Why.TOO_LONG]


def test_a_number_goes_when_it_has_moved_from_the_last_that_went() -> None:
    rule = compiled(dead_band=DeadBand("", 1.0))
    payloads = [b"10", b"10.9", b"9.1", b"11", b"11.5", b"10.5", b"10"]
    assert passed(rule, payloads) == [0, 3, 6]


def test_a_drift_in_small_steps_is_seen() -> None:
    rule = compiled(dead_band=DeadBand("", 1.0))
    assert len(passed(rule, [b"%.1f" % (at / 10) for at in range(101)])) in {10, 11}  # binary fractions


def test_a_payload_without_the_number_goes_and_moves_nothing() -> None:
    rule = compiled(dead_band=DeadBand("t.c", 1.0))
    payloads = [b'{"t":{"c":1}}', b"broken", b'{"t":"?"}', b'{"t":{"c":1.5}}', b"", b'{"t":{"c":2}}']
    assert passed(rule, payloads) == [0, 1, 2, 4, 5]


def test_the_dead_band_counts_from_what_went_not_from_what_was_sampled_away() -> None:
    rule = compiled(dead_band=DeadBand("", 10.0), sample_every=2)
    #             goes   band   sampled  counts from 0: goes
    assert told(rule, [b"0", b"5", b"10", b"10"]) == [Pass(b"0"), Why.DEAD_BAND, Why.SAMPLED, Pass(b"10")]


def test_a_sample_is_the_first_and_each_nth() -> None:
    assert passed(compiled(sample_every=3), [b"x"] * 8) == [0, 3, 6]


def test_a_rate_lets_so_many_go_at_once_and_then_one_in_its_share_of_the_minute() -> None:
    assert passed(compiled(max_per_minute=3), [b"x"] * 10) == [0, 1, 2]
    assert passed(compiled(max_per_minute=3), [b"x"] * 10, step_seconds=10.0) == [0, 1, 2, 3, 4, 6, 8]


@given(st.lists(st.floats(0, 20), max_size=60), st.integers(1, 20))
def test_no_minute_sees_more_than_twice_the_rate(pauses: list[float], most: int) -> None:
    rule, memory, now, went = compiled(max_per_minute=most), Memory(), 0.0, []
    for pause in pauses:
        now += pause
        if isinstance(judge(rule, TOPIC, b"", memory, now), Pass):
            went.append(now)
    assert all(sum(start <= at < start + 60 for at in went) <= 2 * most for start in went)


def test_topics_are_counted_apart() -> None:
    rule, memory = compiled(max_per_minute=1), Memory()
    assert isinstance(judge(rule, "devices/a/x", b"", memory, 0.0), Pass)
    assert isinstance(judge(rule, "devices/b/x", b"", memory, 0.0), Pass)
    assert judge(rule, "devices/a/x", b"", memory, 0.0) is Why.RATE


def test_named_fields_are_taken_out_and_what_is_no_object_stays() -> None:
    found = told(compiled(redact=("who",)), [b'{"who":"x","t":1}', b"[]", b"text", b'{"t":1}'])
    assert found == [Pass(b'{"t":1}'), Why.NOT_REDACTABLE, Why.NOT_REDACTABLE, Pass(b'{"t":1}')]


def test_the_dead_band_reads_a_field_that_is_then_taken_out() -> None:
    rule = compiled(dead_band=DeadBand("n", 1.0), redact=("n",))
    assert told(rule, [b'{"n":1,"a":2}', b'{"n":1,"a":3}']) == [Pass(b'{"a":2}'), Why.DEAD_BAND]


def test_latest_waits_for_the_end_of_its_window_and_the_next_window_begins_with_the_next_message() -> None:
    rule, memory = compiled(latest_seconds=10), Memory()
    holds = [judge(rule, TOPIC, b"", memory, now) for now in (100.0, 105.0, 109.9, 110.0, 131.0)]
    assert [each.hold for each in holds if isinstance(each, Pass)] == [
        Hold(110.0, True), Hold(110.0, True), Hold(110.0, True), Hold(120.0, True), Hold(141.0, True),
    ]  # fmt: skip


def test_a_batch_is_one_window_for_all_topics_of_the_rule() -> None:
    rule, memory = compiled(batch_seconds=60), Memory()
    holds = [judge(rule, f"devices/{at}/x", b"", memory, at) for at in (1.0, 2.0, 60.9, 61.0)]
    assert [each.hold for each in holds if isinstance(each, Pass)] == [Hold(61.0), Hold(61.0), Hold(61.0), Hold(121.0)]


def test_a_forgotten_topic_lets_more_out_and_nothing_that_must_stay() -> None:
    memory = Memory(max_topics=1)
    rule = compiled(max_per_minute=1, redact=("who",), max_payload_bytes=20)
    secret, long = json.dumps({"who": "x"}).encode(), b"{" + b" " * 30 + b"}"
    for topic in ("devices/a/x", "devices/b/x") * 3:
        assert judge(rule, topic, secret, memory, 0.0) == Pass(b"{}")
        assert judge(rule, topic, long, memory, 0.0) is Why.TOO_LONG


@given(st.binary(max_size=40), st.integers(0, 3), st.integers(0, 2), st.booleans())
def test_any_payload_gets_an_answer(payload: bytes, sample: int, rate: int, redacted: bool) -> None:
    rule = compiled(
        sample_every=sample, max_per_minute=rate, dead_band=DeadBand("", 1), redact=("a",) if redacted else ()
    )
    assert isinstance(told(rule, [payload])[0], Pass | Why)


def test_what_is_held_leaves_as_the_rules_of_now_allow() -> None:
    message = DeviceMessage("d", TOPIC, b'{"who":"x","t":1}', values=(DeviceValue("who", "x"),))
    assert still(compiled(sample_every=9, max_payload_bytes=1), message) is message
    assert still(compiled(residency=Residency.STORE), message) is None
    left = still(compiled(redact=("who",)), message)
    assert left is not None and (left.payload, left.values) == (b'{"t":1}', ())
    assert still(compiled(redact=("who",)), DeviceMessage("d", TOPIC, b"who is x")) is None
