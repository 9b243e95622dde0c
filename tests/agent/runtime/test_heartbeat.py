"""agent/runtime/heartbeat.py."""

from agent.clock import Clock
from agent.runtime.heartbeat import Heartbeats

SECOND = 1_000_000_000


def test_a_service_is_stale_only_beyond_the_bound_and_a_beat_makes_it_fresh() -> None:
    now = [0]
    heartbeats = Heartbeats(Clock("boot", boottime_nano=lambda: now[0] * SECOND), ["link", "mqtt"])
    link = heartbeats.beater("link")
    now[0] = 10
    link()
    now[0] = 30
    assert heartbeats.stale(30) == {}
    now[0] = 31
    assert heartbeats.stale(30) == {"mqtt": 31}
    now[0] = 41
    assert heartbeats.stale(30) == {"mqtt": 41, "link": 31}
    link()
    assert heartbeats.stale(30) == {"mqtt": 41}


def test_nobody_waits_for_a_service_that_has_ended() -> None:
    now = [0]
    heartbeats = Heartbeats(Clock("boot", boottime_nano=lambda: now[0] * SECOND), ["link"])
    heartbeats.end("link")
    now[0] = 1000
    assert heartbeats.stale(30) == {}
