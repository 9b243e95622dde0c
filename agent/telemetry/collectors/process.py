"""How many processes there are. Their names and states would cost a hundred times as much (5.9 ms for 78, measured)."""

from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass

import psutil

from agent.model import MetricKind
from agent.telemetry.sample import Sample


@dataclass(frozen=True, slots=True)
class ProcessCollector:
    """Counts what /proc shows: under ProtectProc= or hidepid that is the agent's own processes only."""

    read_pids: Callable[[], Sized] = psutil.pids

    def collect(self) -> Iterator[Sample]:
        yield Sample("system.process.count", len(self.read_pids()), "{process}", MetricKind.UP_DOWN_COUNTER)
