"""The agent itself: memory, processor time, how late its event loop was, what waits in its spool."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import psutil

from agent.model import MetricKind, SpoolView
from agent.telemetry.sample import Sample

_WHO = ("process.executable.name", "edge-agent")


class Process(NamedTuple):
    """Bytes and seconds."""

    rss: int
    user: float
    system: float


def reader() -> Callable[[], Process]:
    """Reads this process."""
    process = psutil.Process()

    def read() -> Process:
        times = process.cpu_times()
        return Process(process.memory_info().rss, times.user, times.system)

    return read


@dataclass(frozen=True, slots=True)
class AgentCollector:
    """`read_lag_seconds` is the latest the event loop came back to a timer since the reading before."""

    read_spool: Callable[[], SpoolView]
    read_lag_seconds: Callable[[], float]
    read_process: Callable[[], Process]

    def collect(self) -> Iterator[Sample]:
        process = self.read_process()
        yield Sample("process.memory.usage", process.rss, "By", MetricKind.UP_DOWN_COUNTER, (_WHO,))
        for mode, seconds in (("user", process.user), ("system", process.system)):
            yield Sample("process.cpu.time", round(seconds, 2), "s", MetricKind.COUNTER, (_WHO, ("cpu.mode", mode)))
        yield Sample("edge.agent.loop.lag", round(self.read_lag_seconds(), 4), "s", MetricKind.GAUGE)
        spool = self.read_spool()
        yield Sample("edge.agent.spool.bytes", spool.payload_bytes, "By", MetricKind.UP_DOWN_COUNTER)
        yield Sample("edge.agent.spool.limit", spool.limit_bytes, "By", MetricKind.UP_DOWN_COUNTER)
        for view in spool.classes:
            attributes = (("edge.record.class", view.record_class.name.lower()),)
            yield Sample("edge.agent.spool.records", view.records, "{record}", MetricKind.UP_DOWN_COUNTER, attributes)
            yield Sample("edge.agent.spool.dropped", view.dropped, "{record}", MetricKind.COUNTER, attributes)
