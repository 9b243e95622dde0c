"""The bill: windows that add up, never run backwards, and hang together by hash."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.jobs.metering import ChainHead, Meter, Reading, bill, chain_hash, look, seal_text
from agent.model import ChainLink, UsageSample

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


def test_looks_between_two_bills_make_memory_finer_without_a_sample_of_their_own() -> None:
    meter = look(look(METER, at(1, memory=100)), at(3, memory=300))
    meter, _, sample = bill(meter, at(5, memory=100), ChainHead())
    assert sample.memory_byte_seconds == 100 + 400 + 400
    assert bill(meter, at(7, memory=100), ChainHead())[2].memory_byte_seconds == 200


def test_a_look_of_the_past_or_without_a_figure_is_none() -> None:
    meter = look(METER, at(3, memory=300))
    assert look(meter, at(2, memory=999)) == meter
    assert look(meter, at(4)) == meter


def test_disk_is_what_is_reserved_times_the_time_and_network_a_difference() -> None:
    begin = replace(METER, last=replace(BEGIN, disk_bytes=1000))
    one = replace(at(10), network_receive_bytes=5, network_transmit_bytes=7, disk_bytes=1000)
    meter, head, first = bill(begin, one, ChainHead())
    assert (first.disk_byte_seconds, first.network_receive_bytes, first.network_transmit_bytes) == (10_000, 5, 7)
    two = replace(at(13), network_receive_bytes=9, network_transmit_bytes=7)  # the end: nothing is mounted any more
    _, _, last = bill(meter, two, head)
    assert (last.disk_byte_seconds, last.network_receive_bytes, last.network_transmit_bytes) == (3000, 4, 0)


def test_a_counter_that_was_reset_is_not_billed_twice() -> None:
    meter, head, _ = bill(METER, replace(at(10, cpu_nano=50), network_receive_bytes=900), ChainHead())
    meter, head, sample = bill(meter, replace(at(20, cpu_nano=3), network_receive_bytes=10), head)
    assert (sample.cpu_nano, sample.network_receive_bytes) == (0, 0)
    _, _, sample = bill(meter, replace(at(30, cpu_nano=60), network_receive_bytes=950), head)
    assert (sample.cpu_nano, sample.network_receive_bytes) == (10, 50)


STEPS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 1 << 30), st.booleans()), min_size=1, max_size=40)


@given(STEPS)
def test_when_memory_is_looked_at_makes_no_difference_to_what_it_adds_up_to(steps) -> None:
    """Billed at each reading, or billed at some and looked at in the others: the same but for rounding."""
    often, seldom, now, totals = METER, METER, 0, [0, 0]
    for number, (wait, memory, billed) in enumerate(steps):
        now += wait
        reading = at(now, memory=memory)
        often, _, sample = bill(often, reading, ChainHead())
        totals[0] += sample.memory_byte_seconds
        if billed or number == len(steps) - 1:
            seldom, _, sample = bill(seldom, reading, ChainHead())
            totals[1] += sample.memory_byte_seconds
        else:
            seldom = look(seldom, reading)
    assert abs(totals[0] - totals[1]) <= len(steps)


def test_a_mixed_load_is_billed_within_one_percent_of_its_true_memory() -> None:
    """Steps up and down over ten minutes: looked at each 5 s, billed each 60 s, against the exact integral."""
    level = lambda second: ((second // 37) * 53 % 11 + 2) << 20  # noqa: E731  # 2..12 MiB, another every 37 s
    meter, head, billed = METER, ChainHead(), 0
    for second in range(1, 600):
        if second % 60 == 0 or second % 5 == 0 or second == 1:
            reading = at(second, memory=level(second))
            if second % 60:
                meter = look(meter, reading)
            else:
                meter, head, sample = bill(meter, reading, head)
                billed += sample.memory_byte_seconds
    billed += bill(meter, at(600), head)[2].memory_byte_seconds
    true = sum(level(second) for second in range(600))
    assert abs(billed - true) <= true / 100


def test_the_text_of_a_seal_is_the_documented_one_in_order_of_tenants() -> None:
    heads = [ChainLink("bolt", 2, bytes(32)), ChainLink("acme", 7, b"\xab" * 32)]
    expected = b"storeedge-usage-seal-v1\nacme\n7\n" + b"ab" * 32 + b"\nbolt\n2\n" + b"00" * 32 + b"\n"
    assert seal_text(heads) == expected


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
    "disk": lambda s: [s[0], replace(s[1], disk_byte_seconds=s[1].disk_byte_seconds + 1), *s[2:]],
    "network": lambda s: [s[0], replace(s[1], network_receive_bytes=s[1].network_receive_bytes + 1), *s[2:]],
    "renumbered": lambda s: [s[0], replace(s[2], chain_index=2), *s[3:]],
}


@pytest.mark.parametrize("how", TAMPERINGS)
@given(READINGS)
def test_an_intact_chain_holds_and_tampering_is_found_where_it_is(how, readings) -> None:
    samples = chain(readings)
    assert broken_at(samples) is None
    assert broken_at(TAMPERINGS[how](samples)) == 2
