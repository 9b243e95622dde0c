"""The soak's judgement: what is growth, what is only scatter."""

import pytest

from tests.soak.slope import grows, growth

HOUR = 3600.0


def line(per_hour: float, scatter: float = 0.0, count: int = 400) -> list[tuple[float, float]]:
    """Four hours, a fifth of them a warm-up that climbs from nothing."""
    return [
        (number * 36.0, min(50.0, number) + per_hour * number / 100 + scatter * (-1) ** number)
        for number in range(count)
    ]


def test_the_slope_is_found_behind_the_warm_up() -> None:
    found = growth(line(3.0))
    assert found.per_hour == pytest.approx(3.0)
    assert found.hours == pytest.approx(3.0, abs=0.02)
    assert found.noise == pytest.approx(0.0, abs=1e-6)


def test_a_leak_is_found_below_the_scatter_of_each_sample() -> None:
    assert grows(growth(line(3.0, scatter=2.0)), 1.0)


def test_what_only_scatters_does_not_grow() -> None:
    assert not grows(growth(line(0.0, scatter=20.0)), 1.0)
    assert not grows(growth(line(1.2, scatter=20.0)), 1.0)


def test_what_shrinks_does_not_grow() -> None:
    assert not grows(growth(line(-5.0)), 1.0)


def test_too_short_a_run_is_no_line() -> None:
    with pytest.raises(ValueError, match="too few"):
        growth([(0.0, 1.0), (HOUR, 2.0)])
