"""Batches: nothing is lost in them, and they stay within the wire's bounds."""

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import MetricBatch, MetricKind
from agent.telemetry import batch as subject
from agent.telemetry.batch import Tick, decimals_of, encode, size_bytes
from agent.telemetry.sample import SeriesKey
from storeedge.v1 import record_pb2

MILLI = 1_000_000
BOOT_TO_WALL = 1_700_000_000_000_000_000

values = st.one_of(
    st.integers(-(2**61), 2**61),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15),
    st.floats(0, 1).map(lambda v: round(v, 4)),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
keys = st.tuples(texts, texts, st.sampled_from(MetricKind), st.lists(st.tuples(texts, texts), max_size=3).map(tuple))
histories = st.lists(st.tuples(st.integers(0, 10_000), st.dictionaries(keys, values, max_size=6)), max_size=12)


def key(name: str, *attributes: tuple[str, str]) -> SeriesKey:
    return (name, "1", MetricKind.GAUGE, attributes)


def ticks_of(*values: float | None) -> list[Tick]:
    return [Tick(n * 10_000 * MILLI, {} if v is None else {key("m"): v}) for n, v in enumerate(values)]


def encoded(ticks: Sequence[Tick]) -> tuple[MetricBatch, ...]:
    return encode(ticks, wall_unix_nano=BOOT_TO_WALL + 5, boottime_nano=5)


def decode(batch: MetricBatch) -> dict[tuple[int, SeriesKey], float]:
    """(ns since 1970, series) -> value, as central does it."""
    moments = [batch.start_unix_nano + m * MILLI for m in itertools.accumulate(batch.tick_delta_milli)]
    points: dict[tuple[int, SeriesKey], float] = {}
    for series in batch.series:
        words = [batch.strings[i] for i in series.attributes]
        attributes = tuple(zip(words[::2], words[1::2], strict=True))
        name = (batch.strings[series.name], batch.strings[series.unit], series.kind, attributes)
        present = series.ticks or range(len(moments))
        for tick, scaled in zip(present, itertools.accumulate(series.value_deltas), strict=True):
            points[moments[tick], name] = scaled / 10**series.decimals if series.decimals else scaled
    return points


def protobuf(batch: MetricBatch) -> record_pb2.MetricBatch:
    out = record_pb2.MetricBatch(
        start_unix_nano=batch.start_unix_nano, tick_delta_milli=batch.tick_delta_milli, strings=batch.strings
    )
    for s in batch.series:
        out.series.add(
            name=s.name,
            unit=s.unit,
            kind=record_pb2.MetricKind.ValueType(int(s.kind)),
            attributes=s.attributes,
            decimals=s.decimals,
            value_deltas=s.value_deltas,
            ticks=s.ticks,
        )
    return out


@given(histories)
def test_every_sample_comes_back_at_its_moment_and_no_other(history: list[tuple[int, dict[SeriesKey, float]]]) -> None:
    clock = 0
    ticks: list[Tick] = []
    for pause, readings in history:
        clock += pause * MILLI + 1 * MILLI  # two ticks at one moment would be one
        ticks.append(Tick(clock, readings))
    sent = {(BOOT_TO_WALL + t.boottime_nano, k): v for t in ticks for k, v in t.values.items()}

    got = {point: value for batch in encoded(ticks) for point, value in decode(batch).items()}

    assert got.keys() == sent.keys()
    for point, value in sent.items():
        mates = [v for (_, k), v in sent.items() if k == point[1]]
        # A huge value in the same series may leave room for fewer decimals; nothing less is ever given up.
        room = max(0, 18 - math.ceil(math.log10(max(1, *map(abs, mates)) + 1)))
        assert abs(got[point] - value) <= max(1e-9 * max(1, abs(value)) * 1.01, 10.0 ** -min(room, 6))


def test_the_fewest_decimals_that_hold_are_taken() -> None:
    assert decimals_of([1, 2**60]) == 0
    assert decimals_of([0.5, 0.25]) == 2
    assert decimals_of([20.0, 21.375]) == 3
    assert decimals_of([1 / 3]) == 9
    assert decimals_of([1e17 + 0.5]) == 0  # half a unit is far below a billionth of it
    assert decimals_of([0.123456789, 1e15]) == 3  # the huge one leaves no room for more


def test_integers_are_exact_beyond_what_a_double_holds() -> None:
    big = 2**61 + 1
    (batch,) = encoded(ticks_of(big, big + 1))
    assert batch.series[0].value_deltas == (big, 1)


def test_a_steady_counter_costs_a_byte_or_two_a_tick() -> None:
    (batch,) = encoded(ticks_of(*(10**12 + n * 50 for n in range(600))))
    assert size_bytes(batch) < 600 * (2 + 3) + 50  # two for the value, three for ten seconds in milliseconds


def test_a_series_missing_at_some_ticks_says_at_which_it_was_there() -> None:
    (batch,) = encoded(ticks_of(None, 5, None, 7))
    assert batch.series[0].ticks == (1, 3)
    assert batch.series[0].value_deltas == (5, 2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2.0**63, 1e300])
def test_what_is_no_number_or_too_big_for_the_wire_counts_as_absent(value: float) -> None:
    (batch,) = encoded(ticks_of(1, value))
    assert batch.series[0].ticks == (0,)
    assert encoded(ticks_of(value)) == ()


def test_no_samples_make_no_batch() -> None:
    assert encoded([]) == ()
    assert encoded(ticks_of(None, None)) == ()


def test_ticks_keep_their_distance_when_the_wall_clock_is_set_between_them() -> None:
    ticks = [Tick(100 * MILLI, {key("m"): 1}), Tick(350 * MILLI, {key("m"): 2})]
    (batch,) = encode(ticks, wall_unix_nano=BOOT_TO_WALL, boottime_nano=400 * MILLI)
    assert batch.start_unix_nano == BOOT_TO_WALL - 300 * MILLI
    assert batch.tick_delta_milli == (0, 250)


def test_rounding_to_milliseconds_does_not_add_up() -> None:
    ticks = [Tick(n * 1_400_000, {key("m"): n}) for n in range(501)]
    (batch,) = encoded(ticks)
    assert sum(batch.tick_delta_milli) == 700


def test_strings_are_written_once() -> None:
    ticks = [Tick(0, {key("m", ("k", "a")): 1, key("m", ("k", "b")): 2})]
    (batch,) = encoded(ticks)
    assert batch.strings == ("", "m", "1", "k", "a", "b")


@given(histories)
@settings(max_examples=50)
def test_the_size_is_that_of_the_message_or_little_more(history: list[tuple[int, dict[SeriesKey, float]]]) -> None:
    ticks = [Tick(n * pause * MILLI, readings) for n, (pause, readings) in enumerate(history)]
    for batch in encoded(ticks):
        true = protobuf(batch).ByteSize()
        assert true <= size_bytes(batch) <= true + 12 * len(batch.series) + 10


def test_more_than_fits_becomes_several_batches_each_within_bounds() -> None:
    ticks = [Tick(n * MILLI, {key(f"m{m}", ("a", f"{m % 7}" * 20)): n * m / 7 for m in range(3000)}) for n in range(40)]
    batches = encoded(ticks)
    assert len(batches) > 1
    for batch in batches:
        assert len(batch.series) <= subject.MAX_SERIES
        assert len(batch.strings) <= subject.MAX_STRINGS
        assert protobuf(batch).ByteSize() <= subject.MAX_BYTES
    assert sum(len(s.value_deltas) for batch in batches for s in batch.series) == 40 * 3000


def test_more_ticks_than_a_batch_takes_become_two() -> None:
    assert [len(b.tick_delta_milli) for b in encoded(ticks_of(*range(700)))] == [350, 350]


def test_more_strings_than_a_batch_takes_become_two() -> None:
    ticks = [Tick(0, {key(f"m{m}", (f"k{m}", f"v{m}")): m for m in range(2000)})]
    batches = encoded(ticks)
    assert len(batches) == 2
    assert all(len(b.strings) <= subject.MAX_STRINGS for b in batches)


def test_attributes_longer_than_a_batch_take_only_their_own_series_with_them() -> None:
    ticks = [Tick(0, {key("m", ("k", "x" * subject.MAX_BYTES)): 1, key("n"): 2})]
    (batch,) = encoded(ticks)
    assert batch.strings == ("", "n", "1")
