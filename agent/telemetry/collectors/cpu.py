"""Processor time per core and mode, and how busy the cores were since the reading before."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from agent.model import MetricKind
from agent.telemetry.sample import Sample

# OpenTelemetry's cpu.mode. `interrupt` is hard and soft interrupts together.
Times = Mapping[str, float]
_IDLE = ("idle", "iowait")


def read() -> list[Times]:
    """Seconds since boot by mode, one mapping per core."""
    return [
        {
            "user": t.user,
            "nice": t.nice,
            "system": t.system,
            "idle": t.idle,
            "iowait": t.iowait,
            "interrupt": t.irq + t.softirq,
            "steal": t.steal,
        }
        for t in psutil.cpu_times(percpu=True)
    ]


@dataclass(slots=True)
class CpuCollector:
    """`system.cpu.utilization` is the busy share (all modes but idle and iowait); without a core it is that of all.

    The first reading, and the first after a core came or went, has no utilization.
    """

    read: Callable[[], Sequence[Times]] = read
    _before: Sequence[Times] = field(default=(), init=False)

    def collect(self) -> Iterator[Sample]:
        cores = self.read()
        before, self._before = self._before, cores
        for number, times in enumerate(cores):
            for mode, seconds in times.items():
                attributes = (("cpu.logical_number", str(number)), ("cpu.mode", mode))
                yield Sample("system.cpu.time", round(seconds, 2), "s", MetricKind.COUNTER, attributes)
        if len(before) != len(cores):
            return
        spent = [_spent(old, new) for old, new in zip(before, cores, strict=True)]
        yield from _utilization(sum(busy for busy, _ in spent), sum(total for _, total in spent), ())
        for number, (busy, total) in enumerate(spent):
            yield from _utilization(busy, total, (("cpu.logical_number", str(number)),))


def _spent(old: Times, new: Times) -> tuple[float, float]:
    """Busy and total seconds between two readings; iowait is known to run backwards, which counts as none."""
    gone = {mode: max(0.0, new[mode] - old[mode]) for mode in new}
    total = sum(gone.values())
    return total - sum(gone[mode] for mode in _IDLE), total


def _utilization(busy: float, total: float, attributes: tuple[tuple[str, str], ...]) -> Iterator[Sample]:
    if total > 0:
        share = min(1.0, max(0.0, busy / total))
        yield Sample("system.cpu.utilization", round(share, 4), "1", MetricKind.GAUGE, attributes)
