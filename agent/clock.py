"""Time, as an argument. Nothing else in the agent reads a clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.model import Stamp

_NANO = 1_000_000_000


def _boottime_nano() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Clock:
    """Two clocks and the name of this boot.

    `boottime_nano` is CLOCK_BOOTTIME (clock_gettime(2)): never set, counts through suspend. Intervals are
    measured with it. `wall_nano` may jump, and is only written down.
    """

    boot_id: str
    wall_nano: Callable[[], int] = time.time_ns
    boottime_nano: Callable[[], int] = _boottime_nano

    def stamp(self) -> Stamp:
        return Stamp(self.wall_nano(), self.boottime_nano(), self.boot_id)

    def seconds(self) -> float:
        """Seconds of CLOCK_BOOTTIME, for intervals."""
        return self.boottime_nano() / _NANO


def system_clock(proc: Path = Path("/proc")) -> Clock:
    return Clock(boot_id=(proc / "sys/kernel/random/boot_id").read_text().strip())
