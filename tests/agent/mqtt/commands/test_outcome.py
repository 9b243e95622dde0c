"""What is out of bounds is refused, and an end reads as what it was."""

import pytest

from agent.errors import RefusedError
from agent.mqtt.commands.outcome import Asked, check, new_command, outcome
from agent.mqtt.commands.queue import Now
from agent.orders import CommandState
from tests.fakes.command_parts import command, order

NOW = Now("boot-1", 10.0, 10**9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": "+"},
        {"name": "x" * 65},
        {"payload": bytes(64 * 1024 + 1)},
        {"timeout": 0.0},
        {"timeout": 61.0},
        {"key": "k" * 65},
        {"queue_seconds": 604_801},
        {"queue_seconds": -1},
    ],
)
def test_what_is_out_of_bounds_is_a_bad_request(wrong):
    check(order())
    with pytest.raises(RefusedError) as refused:
        check(order(**wrong))
    assert refused.value.reason == "BAD_REQUEST"


def test_a_command_lives_as_long_as_its_caller_waits_or_as_it_is_kept():
    short = new_command("1", order(timeout=5.0), Asked(), NOW, answers=True)
    kept = new_command("2", order(timeout=5.0, queue_seconds=60), Asked(), NOW, answers=True)
    assert (short.expires_seconds, short.kept) == (15.0, False)
    assert (kept.expires_seconds, kept.expires_unix_nano, kept.kept) == (70.0, 61 * 10**9, True)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"state": CommandState.CANCELLED}, "CONFLICT"),
        ({"state": CommandState.EXPIRED, "expires_seconds": 11.0}, "AWAY"),
        ({"state": CommandState.EXPIRED, "expires_seconds": 9.0}, "DEADLINE"),
        ({"state": CommandState.ANSWERED, "answer": b"x", "answer_bytes": 2}, "CONFLICT"),
    ],
)
def test_how_an_end_without_an_answer_is_refused(fields, reason):
    with pytest.raises(RefusedError) as refused:
        outcome(command(**fields), None, NOW)
    assert refused.value.reason == reason


def test_an_answer_is_told_whole_when_it_comes_just_now():
    told = outcome(command(state=CommandState.ANSWERED, answer=b"x", answer_bytes=2), b"xy", NOW)
    assert told is not None
    assert told.payload == b"xy"


def test_what_was_not_answered_may_still_be():
    assert outcome(command(state=CommandState.UNANSWERED, sent=1), None, NOW) is None
