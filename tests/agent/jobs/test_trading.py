"""Trading hours: which hold at a moment, in the store's own time, over midnight and when clocks are changed."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import RefusedError
from agent.jobs.trading import check, describe, hours_at, largest, reserve_at
from agent.spec import Reserve, StorePolicy, TradingHours

DAY = TradingHours((), 8 * 60, 20 * 60, Reserve(2000, 4 << 30))
NIGHT = TradingHours((5, 6), 22 * 60, 2 * 60, Reserve(500, 1 << 30, 5))
BERLIN = StorePolicy("Europe/Berlin", Reserve(100, 1 << 20), (DAY, NIGHT))
UTC = StorePolicy("", Reserve(100, 1 << 20), (DAY, NIGHT))


def at(text, zone="Europe/Berlin"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("moment", "hours"),
    [
        ("2026-11-18T07:59:59", None),
        ("2026-11-18T08:00:00", DAY),
        ("2026-11-18T19:59:59", DAY),
        ("2026-11-18T20:00:00", None),
        ("2026-11-20T22:00:00", NIGHT),  # a Friday
        ("2026-11-21T01:59:00", NIGHT),  # still Friday's
        ("2026-11-22T01:59:00", NIGHT),  # Saturday's
        ("2026-11-22T22:30:00", None),  # Sunday has none
        ("2026-11-20T01:00:00", None),  # nor has Thursday
        ("2026-03-29T08:00:00", DAY),  # summer time began that night
        ("2026-10-25T07:59:00", None),  # and ended in this one
    ],
)
def test_hours_are_those_of_the_stores_own_clock(moment, hours) -> None:
    assert hours_at(BERLIN, at(moment)) == hours
    assert reserve_at(BERLIN, at(moment)) == (hours.reserve if hours else BERLIN.reserve)


def test_without_a_time_zone_the_store_lives_by_utc() -> None:
    assert hours_at(UTC, at("2026-11-18T07:30:00", "UTC")) is None
    assert hours_at(BERLIN, at("2026-11-18T07:30:00", "UTC")) == DAY


def test_the_first_hours_that_cover_the_moment_decide() -> None:
    both = StorePolicy("", Reserve(), (TradingHours((), 0, 1440, Reserve(1)), DAY))
    assert reserve_at(both, at("2026-11-18T12:00:00", "UTC")) == Reserve(1)


def test_the_largest_reserve_is_taken_for_each_resource_by_itself() -> None:
    assert largest(BERLIN) == Reserve(2000, 4 << 30, 5)


def test_people_are_told_which_hours_they_are() -> None:
    assert describe(BERLIN, at("2026-11-18T12:00:00")) == "trading hours 08:00-20:00 Europe/Berlin"
    assert describe(BERLIN, at("2026-11-18T21:00:00")) == ""


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../etc/passwd", "a" * 300])
def test_a_time_zone_that_is_not_known_is_refused_by_name(name) -> None:
    with pytest.raises(RefusedError, match=r"store\.timezone"):
        check(StorePolicy(name))


HOURS = st.builds(TradingHours, st.lists(st.integers(1, 7)).map(tuple), st.integers(0, 1439), st.integers(1, 1440),
                  st.builds(Reserve, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)))  # fmt: skip


@given(st.lists(HOURS, max_size=4).map(tuple), st.integers(0, 4_000_000_000), st.sampled_from(["", "Asia/Kathmandu"]))
def test_no_moment_reserves_more_than_the_largest(hours, moment, zone) -> None:
    policy = StorePolicy(zone, Reserve(1, 1, 1), hours)
    now, most = reserve_at(policy, moment), largest(policy)
    assert now.cpu_milli <= most.cpu_milli and now.memory_bytes <= most.memory_bytes
    assert now.disk_bytes <= most.disk_bytes
