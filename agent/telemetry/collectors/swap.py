"""Swap: in use, and pages moved."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import psutil

from agent.model import MetricKind
from agent.telemetry.sample import Sample

# psutil multiplies the kernel's page counts by this whatever the real page size (16 KiB on a Raspberry Pi 5):
# dividing gives the true counts back.
_PSUTIL_PAGE_BYTES = 4096


class Swap(NamedTuple):
    """Bytes, and pages since boot."""

    total: int
    used: int
    pages_in: int
    pages_out: int


def read() -> Swap:
    now = psutil.swap_memory()
    return Swap(now.total, now.used, now.sin // _PSUTIL_PAGE_BYTES, now.sout // _PSUTIL_PAGE_BYTES)


@dataclass(frozen=True, slots=True)
class SwapCollector:
    """A box without swap yields nothing."""

    read: Callable[[], Swap] = read

    def collect(self) -> Iterator[Sample]:
        swap = self.read()
        if swap.total == 0:
            return
        for state, size in (("used", swap.used), ("free", swap.total - swap.used)):
            attributes = (("system.paging.state", state),)
            yield Sample("system.paging.usage", size, "By", MetricKind.UP_DOWN_COUNTER, attributes)
        share = round(swap.used / swap.total, 4)
        yield Sample("system.paging.utilization", share, "1", MetricKind.GAUGE, (("system.paging.state", "used"),))
        for direction, pages in (("in", swap.pages_in), ("out", swap.pages_out)):
            attributes = (("system.paging.direction", direction),)
            yield Sample("system.paging.operations", pages, "{operation}", MetricKind.COUNTER, attributes)
