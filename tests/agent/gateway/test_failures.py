"""Guessing is slow: an address that failed often waits."""

from agent.gateway.failures import Failures


def test_after_ten_failures_an_address_waits_until_the_minute_is_over() -> None:
    failures = Failures(limit=10)
    for attempt in range(10):
        assert failures.wait_seconds("a", attempt) == 0
        failures.failed("a", attempt)
    assert failures.wait_seconds("a", 10) == 50
    assert failures.wait_seconds("b", 10) == 0
    assert failures.wait_seconds("a", 60) == 0


def test_failures_long_apart_are_not_added() -> None:
    failures = Failures(limit=2)
    for now in (0, 61, 122):
        failures.failed("a", now)
        assert failures.wait_seconds("a", now) == 0


def test_at_most_a_thousand_addresses_are_remembered() -> None:
    failures = Failures(limit=1)
    for number in range(1025):
        failures.failed(str(number), 0)
    assert failures.wait_seconds("0", 0) == 0
    assert failures.wait_seconds("1024", 0) == 60
