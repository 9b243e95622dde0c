"""Temperatures, from hwmon or else the thermal zones."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psutil

from agent.model import MetricKind
from agent.telemetry.collectors.sensors import named
from agent.telemetry.sample import Sample


def read() -> dict[str, list[tuple[str, float]]]:
    """Degrees Celsius as (label, value) by chip; empty where there are none (virtual machines)."""
    chips = psutil.sensors_temperatures()
    return {chip: [(now.label, now.current) for now in readings] for chip, readings in chips.items()}


@dataclass(frozen=True, slots=True)
class TemperatureCollector:
    read: Callable[[], Mapping[str, Sequence[tuple[str, float]]]] = read

    def collect(self) -> Iterator[Sample]:
        for sensor, celsius in named(self.read()):
            attributes = (("hw.id", sensor), ("hw.type", "temperature"))
            yield Sample("hw.temperature", round(celsius, 3), "Cel", MetricKind.GAUGE, attributes)
