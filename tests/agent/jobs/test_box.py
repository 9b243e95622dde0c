"""What the box has: the launcher's facts, less what the store keeps at this hour."""

from dataclasses import replace
from datetime import UTC, datetime

from agent.config.schema import JobsConfig
from agent.jobs.box import capacity, policy_of, usable
from agent.sandbox import HostFacts
from agent.spec import Reserve, StorePolicy, TradingHours

FACTS = HostFacts("crun", "1", "v2", True, 4, 8 << 30, "boot-1", disk_bytes=9 << 30, network=True, max_runs=200)
TRADE = StorePolicy("Europe/Berlin", Reserve(100), (TradingHours((), 8 * 60, 20 * 60, Reserve(2000, 1 << 30)),))


def at(hour, minute=0):
    return int(datetime(2026, 7, 1, hour, minute, tzinfo=UTC).timestamp() * 1e9)


def test_everything_the_launcher_says_counts() -> None:
    has = capacity(FACTS, StorePolicy(), at(12), spool_takes=False)
    assert (has.cpu_milli, has.memory_bytes, has.disk_bytes, has.runs) == (4000, 8 << 30, 9 << 30, 200)
    assert has.network and has.memory_controller and not has.spool_takes


def test_there_is_a_way_to_the_broker_where_both_the_launcher_and_the_agent_know_one() -> None:
    ways = [
        capacity(replace(FACTS, mqtt=launcher), StorePolicy(), at(12), spool_takes=True, broker=agent).mqtt
        for launcher in (False, True)
        for agent in (False, True)
    ]
    assert ways == [False, False, False, True]


def test_the_reserve_is_that_of_the_stores_own_hour() -> None:
    before, during = (capacity(FACTS, TRADE, at(h, m), spool_takes=True) for h, m in ((5, 59), (6, 0)))  # UTC+2
    assert (before.reserve, during.reserve) == (Reserve(100), Reserve(2000, 1 << 30))
    assert before.largest == during.largest == Reserve(2000, 1 << 30)
    assert before.hours == "" and "08:00-20:00" in during.hours


def test_within_a_minute_nothing_changes() -> None:
    assert capacity(FACTS, TRADE, at(6), spool_takes=True) == capacity(
        FACTS, TRADE, at(6) + 59_000_000_000, spool_takes=True
    )


def test_without_a_word_from_central_the_boxs_own_configuration_counts() -> None:
    config = JobsConfig(reserve_cpu_milli=7, reserve_memory_bytes=8, reserve_disk_bytes=9)
    assert policy_of(config) == StorePolicy(reserve=Reserve(7, 8, 9))


def test_a_time_zone_that_this_box_does_not_know_reserves_the_most_at_all_times() -> None:
    lost = StorePolicy("Atlantis/Sunken", TRADE.reserve, TRADE.hours)
    assert usable(lost) == StorePolicy(reserve=Reserve(2000, 1 << 30))
    assert usable(TRADE) == TRADE
