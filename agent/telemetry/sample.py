"""One number read from the host, and what gives them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from agent.model import MetricKind

Attributes = tuple[tuple[str, str], ...]

# What makes a series: name, unit, kind, attributes.
SeriesKey = tuple[str, str, MetricKind, Attributes]


@dataclass(frozen=True, slots=True)
class Sample:
    """A metric's value now.

    `unit` is UCUM as OpenTelemetry writes it ("By", "s", "1", "Cel", "rpm", "{process}"). `attributes` are pairs of
    key and value, always in the same order for the same series. Integers stay exact up to 2**62.
    """

    name: str
    value: float
    unit: str
    kind: MetricKind
    attributes: Attributes = ()

    @property
    def series(self) -> SeriesKey:
        return (self.name, self.unit, self.kind, self.attributes)


class Collector(Protocol):
    """Reads one part of the host. What isn't there (a sensor, a swap) yields nothing; any exception is a failure."""

    def collect(self) -> Iterable[Sample]: ...
