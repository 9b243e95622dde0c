"""Sums that fade."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.registry.rates import FADE_SECONDS, fade, per_minute

SECOND = 1_000_000_000


def test_after_its_time_a_third_is_left():
    assert fade(int(FADE_SECONDS * SECOND)) == pytest.approx(0.368, abs=0.001)


def test_a_clock_that_went_back_takes_nothing_away():
    assert fade(-SECOND) == 1.0


@given(st.floats(0.2, 600), st.integers(1, 3600))
def test_an_even_rate_is_told_as_it_is_from_the_first_minute_on(every_seconds, minutes):
    """Within one message's worth."""
    left = fade(int(every_seconds * SECOND))
    count = int(min(minutes, 60) * 60 / every_seconds) + 1
    faded = (1 - left**count) / (1 - left)
    known = int(max(count * every_seconds, 60) * SECOND)
    true = 60 / every_seconds
    if count * every_seconds >= 60:
        assert per_minute(faded, known) == pytest.approx(true, rel=0.02, abs=1.1)
