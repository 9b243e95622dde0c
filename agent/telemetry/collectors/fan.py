"""Fan speeds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psutil

from agent.model import MetricKind
from agent.telemetry.collectors.sensors import named
from agent.telemetry.sample import Sample


def read() -> dict[str, list[tuple[str, float]]]:
    """Revolutions per minute as (label, value) by chip; empty where there are no fans."""
    return {chip: [(now.label, now.current) for now in readings] for chip, readings in psutil.sensors_fans().items()}


@dataclass(frozen=True, slots=True)
class FanCollector:
    read: Callable[[], Mapping[str, Sequence[tuple[str, float]]]] = read

    def collect(self) -> Iterator[Sample]:
        for sensor, speed in named(self.read()):
            yield Sample("hw.fan.speed", speed, "rpm", MetricKind.GAUGE, (("hw.id", sensor), ("hw.type", "fan")))
