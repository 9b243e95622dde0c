"""How long the box has been up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.model import MetricKind
from agent.telemetry.sample import Sample


@dataclass(frozen=True, slots=True)
class UptimeCollector:
    """Reads CLOCK_BOOTTIME, not a boot time in wall clock: a box without a battery clock boots in the past."""

    read_seconds: Callable[[], float]

    def collect(self) -> Iterator[Sample]:
        yield Sample("system.uptime", round(self.read_seconds(), 3), "s", MetricKind.GAUGE)
