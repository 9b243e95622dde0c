"""agent/backoff.py."""

from hypothesis import given
from hypothesis import strategies as st

from agent.backoff import full_jitter

draws = st.floats(0, 1, exclude_max=True)
seconds = st.floats(0.05, 3600)


@given(st.integers(0, 10**6), seconds, seconds, draws)
def test_a_wait_is_never_negative_and_never_beyond_the_cap(attempt: int, base: float, cap: float, draw: float) -> None:
    assert 0 <= full_jitter(attempt, base_seconds=base, cap_seconds=cap, draw=draw) <= cap


@given(st.integers(0, 100), seconds, draws)
def test_the_ceiling_doubles_with_each_attempt_until_the_cap(attempt: int, base: float, draw: float) -> None:
    wait = full_jitter(attempt, base_seconds=base, cap_seconds=1e300, draw=draw)
    assert wait == draw * (base * 2 ** min(attempt, 32))


def test_stores_that_lost_central_together_spread_over_the_whole_range() -> None:
    waits = [full_jitter(3, base_seconds=1, cap_seconds=60, draw=n / 100) for n in range(100)]
    assert waits == [8 * n / 100 for n in range(100)]
