"""Metric batches: from columns of differences back to points. Pure. docs/PROTOCOL.md has a worked example."""

from collections.abc import Iterator
from dataclasses import dataclass

from storeedge.v1.record_pb2 import MetricBatch, MetricKind, Series

_MAX_TICKS, _MAX_STRINGS, _MAX_SERIES, _MAX_ATTRIBUTES, _MAX_DECIMALS = 600, 4096, 2048, 32, 9
_MILLI = 1_000_000  # ns


@dataclass(frozen=True, slots=True)
class Key:
    """What makes a series one."""

    name: str
    unit: str
    kind: MetricKind
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Point:
    time_unix_nano: int
    value: float


def violation(batch: MetricBatch) -> str | None:
    """The first broken rule of a batch, None when it can be decoded."""
    ticks, strings = len(batch.tick_delta_milli), len(batch.strings)
    if not 1 <= ticks <= _MAX_TICKS:
        return f"metrics.tick_delta_milli: 1..{_MAX_TICKS} ticks, not {ticks}"
    if batch.tick_delta_milli[0] != 0:
        return "metrics.tick_delta_milli[0]: 0"
    if not 1 <= strings <= _MAX_STRINGS or batch.strings[0]:
        return f'metrics.strings: 1..{_MAX_STRINGS}, the first ""'
    if len(batch.series) > _MAX_SERIES:
        return f"metrics.series: at most {_MAX_SERIES}"
    for index, series in enumerate(batch.series):
        found = _series_violation(series, ticks, strings)
        if found:
            return f"metrics.series[{index}].{found}"
    return None


def _series_violation(series: Series, ticks: int, strings: int) -> str | None:
    if series.name >= strings or series.unit >= strings or any(i >= strings for i in series.attributes):
        return f"name, unit, attributes: indexes below {strings}"
    if len(series.attributes) > _MAX_ATTRIBUTES or len(series.attributes) % 2:
        return f"attributes: pairs, at most {_MAX_ATTRIBUTES} numbers"
    if series.decimals > _MAX_DECIMALS:
        return f"decimals: 0..{_MAX_DECIMALS}"
    if series.kind not in (1, 2, 3):
        return "kind: 1..3"
    present = len(series.ticks) or ticks
    if len(series.value_deltas) != present:
        return f"value_deltas: {present} values, one for each tick present"
    if any(tick >= ticks for tick in series.ticks) or list(series.ticks) != sorted(set(series.ticks)):
        return f"ticks: rising indexes below {ticks}"
    return None


def times(batch: MetricBatch) -> list[int]:
    """When each tick was, ns since 1970."""
    now, found = batch.start_unix_nano, list[int]()
    for delta in batch.tick_delta_milli:
        now += delta * _MILLI
        found.append(now)
    return found


def key(batch: MetricBatch, series: Series) -> Key:
    strings, pairs = batch.strings, series.attributes
    attributes = tuple((strings[k], strings[v]) for k, v in zip(pairs[::2], pairs[1::2], strict=True))
    return Key(strings[series.name], strings[series.unit], series.kind, tuple(sorted(attributes)))


def decode(batch: MetricBatch, name: str = "") -> Iterator[tuple[Key, list[Point]]]:
    """Every series of a sound batch with its points, oldest first; with `name`, only the metric of that name."""
    clock = times(batch)
    for series in batch.series:
        if name and batch.strings[series.name] != name:
            continue
        scale, value, points = 10**series.decimals, 0, list[Point]()
        for tick, delta in zip(series.ticks or range(len(clock)), series.value_deltas, strict=True):
            value += delta
            points.append(Point(clock[tick], value / scale))
        yield key(batch, series), points
