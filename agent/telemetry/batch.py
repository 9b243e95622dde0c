"""Ticks of samples into columnar batches. Pure.

A metric of one tick is mostly that of the tick before: a column of differences is a tenth of OTLP's bytes
(docs/decisions/0041).
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.model import MetricBatch, Series
from agent.telemetry.sample import SeriesKey

# Bounds of storeedge.v1.MetricBatch; bytes stay well below a frame's 256 KiB.
MAX_SERIES = 2048
MAX_TICKS = 600
MAX_STRINGS = 4096
MAX_BYTES = 192 << 10

_LIMIT = 1 << 62  # scaled values stay below: the difference of two still fits a sint64
_POWERS: tuple[int, ...] = tuple(10**decimals for decimals in range(10))
_TOLERANCE = 1e-9
_FALLBACK_DECIMALS = 6
_NANO_PER_MILLI = 1_000_000

Column = Sequence[tuple[int, float]]  # (index of the tick, value)


@dataclass(frozen=True, slots=True)
class Tick:
    """Every sample of one moment of CLOCK_BOOTTIME."""

    boottime_nano: int
    values: Mapping[SeriesKey, float]


def encode(ticks: Sequence[Tick], *, wall_unix_nano: int, boottime_nano: int) -> tuple[MetricBatch, ...]:
    """All of `ticks` (oldest first) in as few batches as their bounds allow.

    The two clocks, read together after the last tick, turn CLOCK_BOOTTIME into wall time: a wall clock set in
    between is right for all of the ticks. A value that is no number, or beyond 2**62, counts as absent.
    """
    shift = wall_unix_nano - boottime_nano
    keys = list(dict.fromkeys(key for tick in ticks for key in tick.values))
    return _encode(ticks, keys, shift)


def _encode(ticks: Sequence[Tick], keys: Sequence[SeriesKey], shift: int) -> tuple[MetricBatch, ...]:
    if len(keys) > MAX_SERIES:
        return _halve_keys(ticks, keys, shift)
    if len(ticks) > MAX_TICKS:
        return _halve_ticks(ticks, keys, shift)
    batch = _build(ticks, keys, shift)
    if not batch.series:
        return ()
    if len(batch.strings) > MAX_STRINGS:
        return _halve_keys(ticks, keys, shift)
    if size_bytes(batch) > MAX_BYTES:
        return (_halve_ticks if len(ticks) > 1 else _halve_keys)(ticks, keys, shift)
    return (batch,)


def _halve_keys(ticks: Sequence[Tick], keys: Sequence[SeriesKey], shift: int) -> tuple[MetricBatch, ...]:
    if len(keys) == 1:
        return ()  # one value whose attributes fill a whole batch: nobody could take it
    half = len(keys) // 2
    return _encode(ticks, keys[:half], shift) + _encode(ticks, keys[half:], shift)


def _halve_ticks(ticks: Sequence[Tick], keys: Sequence[SeriesKey], shift: int) -> tuple[MetricBatch, ...]:
    half = len(ticks) // 2
    return _encode(ticks[:half], keys, shift) + _encode(ticks[half:], keys, shift)


def _build(ticks: Sequence[Tick], keys: Sequence[SeriesKey], shift: int) -> MetricBatch:
    start = ticks[0].boottime_nano if ticks else 0
    # Each offset is rounded by itself, so that rounding never adds up.
    offsets = [round((tick.boottime_nano - start) / _NANO_PER_MILLI) for tick in ticks]
    strings: dict[str, int] = {"": 0}
    series: list[Series] = []
    for key in keys:
        column = [(i, v) for i, tick in enumerate(ticks) if (v := tick.values.get(key)) is not None and _fits(v, 0)]
        if column:
            series.append(_series(key, column, len(ticks), strings))
    return MetricBatch(start + shift, _deltas(offsets), tuple(strings), tuple(series))


def _series(key: SeriesKey, column: Column, ticks: int, strings: dict[str, int]) -> Series:
    name, unit, kind, attributes = key

    def index(text: str) -> int:
        return strings.setdefault(text, len(strings))

    decimals = decimals_of([value for _, value in column])
    scaled = [round(value * _POWERS[decimals]) for _, value in column]
    return Series(
        name=index(name),
        unit=index(unit),
        kind=kind,
        attributes=tuple(index(text) for pair in attributes for text in pair),
        decimals=decimals,
        value_deltas=_deltas(scaled),
        ticks=() if len(column) == ticks else tuple(i for i, _ in column),
    )


def decimals_of(values: Sequence[float]) -> int:
    """The fewest decimals that write every value to a billionth (of itself, or of one when it is smaller).

    Where none do, because a tiny and a huge value share a series: six, or as many as the huge one leaves room for.
    """
    for decimals in range(len(_POWERS)):
        if all(_exact(value, decimals) for value in values):
            return decimals
    fitting = (d for d in range(_FALLBACK_DECIMALS, 0, -1) if all(_fits(value, d) for value in values))
    return next(fitting, 0)


def _fits(value: float, decimals: int) -> bool:
    return abs(value * _POWERS[decimals]) < _LIMIT  # never true of a NaN


def _exact(value: float, decimals: int) -> bool:
    exact = value * _POWERS[decimals]
    return abs(exact) < _LIMIT and abs(round(exact) - exact) <= _TOLERANCE * max(1, abs(value)) * _POWERS[decimals]


def _deltas(numbers: Sequence[int]) -> tuple[int, ...]:
    """The first number, then each one less the one before."""
    return (*numbers[:1], *(b - a for a, b in itertools.pairwise(numbers)))


def size_bytes(batch: MetricBatch) -> int:
    """Bytes of `batch` as a storeedge.v1.MetricBatch, or a few more (a zero costs nothing there)."""
    size = 9 + _packed(batch.tick_delta_milli, signed=True)
    size += sum(_field(len(text.encode(errors="replace"))) for text in batch.strings)
    for series in batch.series:
        body = 2 + _varint(series.name) + _varint(series.unit) + 2 + 2
        body += _packed(series.attributes, signed=False) + _packed(series.ticks, signed=False)
        size += _field(body + _packed(series.value_deltas, signed=True))
    return size


def _varint(number: int) -> int:
    return max(1, (number.bit_length() + 6) // 7)


def _field(length: int) -> int:
    return 1 + _varint(length) + length


def _packed(numbers: Sequence[int], *, signed: bool) -> int:
    if signed:
        return _field(sum(_varint(n << 1 if n >= 0 else ~n << 1 | 1) for n in numbers))
    return _field(sum(map(_varint, numbers)))
