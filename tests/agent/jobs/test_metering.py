"""The bill: windows that add up, never run backwards, and hang together by hash."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.jobs.metering import ChainHead, Meter, Reading, bill, chain_hash
from agent.model import UsageSample

SECOND = 1_000_000_000
BEGIN = Reading(boottime_nano=0, wall_nano=1000 * SECOND, cpu_nano=0, memory_bytes=None)
METER = Meter("b.1.1", "acme", "b", 1, 1, BEGIN)


def at(seconds, cpu_nano=0, memory=None, peak=0):
    return Reading(seconds * SECOND, (1000 + seconds) * SECOND, cpu_nano, memory, peak)


def test_memory_is_the_mean_of_both_readings_times_the_time_between() -> None:
    meter, head, _ = bill(METER, at(10, memory=100), ChainHead())
    _, _, sample = bill(meter, at(14, memory=300), head)
    assert (sample.memory_byte_seconds, sample.wall_nano) == (800, 4 * SECOND)


def test_the_first_and_the_last_window_count_the_reading_they_have() -> None:
    meter, head, first = bill(METER, at(10, memory=100), ChainHead())
    _, _, last = bill(meter, at(13), head)
    assert (first.memory_byte_seconds, last.memory_byte_seconds) == (1000, 300)


def test_a_run_too_short_to_be_read_counts_half_its_peak() -> None:
    assert bill(METER, at(2, peak=64), ChainHead())[2].memory_byte_seconds == 64


def test_windows_touch_and_counters_are_differences() -> None:
    meter, head, one = bill(METER, at(10, cpu_nano=5), ChainHead())
    _, _, two = bill(meter, at(12, cpu_nano=9), head)
    assert one.end_unix_nano == two.start_unix_nano
    assert (one.cpu_nano, two.cpu_nano) == (5, 4)


def test_a_wall_clock_set_back_gives_no_negative_window() -> None:
    meter, head, _ = bill(METER, at(10, memory=8), ChainHead())
    jumped = replace(at(20, memory=8), wall_nano=5)
    meter, head, sample = bill(meter, jumped, head)
    assert sample.start_unix_nano == sample.end_unix_nano == 1010 * SECOND
    assert sample.wall_nano == 10 * SECOND
    assert bill(meter, at(21), head)[2].start_unix_nano == 1010 * SECOND


def test_the_hash_is_the_documented_one() -> None:
    sample = UsageSample("acme", "b", 2, 1, 10, 20, 30, 40, 50, 60, 70, 80, 1)
    text = b"acme\nb\n2\n1\n10\n20\n30\n40\n50\n60\n70\n80\n1"
    assert chain_hash(bytes(32), sample) == hashlib.sha256(bytes(32) + text).digest()


def chain(readings):
    meter, head, samples = METER, ChainHead(), []
    for reading in readings:
        meter, head, sample = bill(meter, reading, head)
        samples.append(sample)
    return samples


def broken_at(samples):
    """Index of the first sample that doesn't hold, as central finds it."""
    previous = bytes(32)
    for place, sample in enumerate(samples, 1):
        if sample.chain_index != place or sample.chain_hash != chain_hash(previous, sample):
            return place
        previous = sample.chain_hash
    return None


READINGS = st.lists(
    st.builds(
        at, st.integers(0, 1000), st.integers(0, 1 << 40), st.none() | st.integers(0, 1 << 40), st.integers(0, 9)
    ),
    min_size=3,
    max_size=8,
)


@given(READINGS)
def test_whatever_is_read_nothing_is_negative_and_the_sums_are_the_last_counters(readings) -> None:
    samples = chain(readings)
    assert all(s.cpu_nano >= 0 and s.wall_nano >= 0 and s.memory_byte_seconds >= 0 for s in samples)
    assert all(s.end_unix_nano >= s.start_unix_nano for s in samples)
    assert sum(s.cpu_nano for s in samples) == max(r.cpu_nano for r in readings)
    assert sum(s.wall_nano for s in samples) == max(r.boottime_nano for r in readings)


TAMPERINGS = {
    "cpu": lambda s: [s[0], replace(s[1], cpu_nano=s[1].cpu_nano + 1), *s[2:]],
    "memory": lambda s: [s[0], replace(s[1], memory_byte_seconds=s[1].memory_byte_seconds + 1), *s[2:]],
    "tenant": lambda s: [s[0], replace(s[1], tenant="other"), *s[2:]],
    "job": lambda s: [s[0], replace(s[1], job="c"), *s[2:]],
    "window": lambda s: [s[0], replace(s[1], end_unix_nano=s[1].end_unix_nano + 1), *s[2:]],
    "hash": lambda s: [s[0], replace(s[1], chain_hash=bytes(32)), *s[2:]],
    "removed": lambda s: [s[0], *s[2:]],
    "repeated": lambda s: [s[0], s[0], *s[2:]],
    "swapped": lambda s: [s[0], s[2], s[1], *s[3:]],
    "renumbered": lambda s: [s[0], replace(s[2], chain_index=2), *s[3:]],
}


@pytest.mark.parametrize("how", TAMPERINGS)
@given(READINGS)
def test_an_intact_chain_holds_and_tampering_is_found_where_it_is(how, readings) -> None:
    samples = chain(readings)
    assert broken_at(samples) is None
    assert broken_at(TAMPERINGS[how](samples)) == 2
