"""Memory: in use by state, in all, and what new applications could have."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import psutil

from agent.model import MetricKind
from agent.telemetry.sample import Sample


class Memory(NamedTuple):
    """Bytes."""

    total: int
    available: int
    free: int
    buffers: int
    cached: int


def read() -> Memory:
    now = psutil.virtual_memory()
    return Memory(now.total, now.available, now.free, now.buffers, now.cached)


@dataclass(frozen=True, slots=True)
class MemoryCollector:
    """`used` is total less available, as OpenTelemetry defines it on Linux: the states don't add up to the limit."""

    read: Callable[[], Memory] = read

    def collect(self) -> Iterator[Sample]:
        memory = self.read()
        used = memory.total - memory.available
        states = {"used": used, "free": memory.free, "buffers": memory.buffers, "cached": memory.cached}
        for state, size in states.items():
            attributes = (("system.memory.state", state),)
            yield Sample("system.memory.usage", size, "By", MetricKind.UP_DOWN_COUNTER, attributes)
        yield Sample("system.memory.limit", memory.total, "By", MetricKind.UP_DOWN_COUNTER)
        yield Sample("system.memory.linux.available", memory.available, "By", MetricKind.UP_DOWN_COUNTER)
        share = round(used / memory.total, 4)
        yield Sample("system.memory.utilization", share, "1", MetricKind.GAUGE, (("system.memory.state", "used"),))
