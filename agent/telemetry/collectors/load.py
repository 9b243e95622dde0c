"""Load averages. OpenTelemetry has no name for them, hence our own namespace."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.model import MetricKind
from agent.telemetry.sample import Sample


@dataclass(frozen=True, slots=True)
class LoadCollector:
    read: Callable[[], tuple[float, float, float]] = os.getloadavg

    def collect(self) -> Iterator[Sample]:
        for minutes, load in zip((1, 5, 15), self.read(), strict=True):
            yield Sample(f"edge.load.{minutes}m", round(load, 2), "{thread}", MetricKind.GAUGE)
