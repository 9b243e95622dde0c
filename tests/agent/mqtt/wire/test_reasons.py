"""agent/mqtt/wire/reasons.py."""

from agent.mqtt.wire.reasons import said


def test_a_reason_is_told_in_words_or_as_its_number() -> None:
    assert said(0x87) == "not authorized"
    assert said(0xF0) == "reason 0xf0"
