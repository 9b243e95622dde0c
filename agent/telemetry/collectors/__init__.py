"""The table of collectors. A new one is a file here and a line below."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.config.schema import TelemetryConfig
from agent.errors import ConfigError
from agent.model import SpoolView
from agent.telemetry.collectors import agent as own
from agent.telemetry.collectors.cpu import CpuCollector
from agent.telemetry.collectors.disk import DiskCollector
from agent.telemetry.collectors.fan import FanCollector
from agent.telemetry.collectors.filesystem import FilesystemCollector
from agent.telemetry.collectors.load import LoadCollector
from agent.telemetry.collectors.memory import MemoryCollector
from agent.telemetry.collectors.network import NetworkCollector
from agent.telemetry.collectors.process import ProcessCollector
from agent.telemetry.collectors.swap import SwapCollector
from agent.telemetry.collectors.temperature import TemperatureCollector
from agent.telemetry.collectors.throttle import ThrottleCollector
from agent.telemetry.collectors.uptime import UptimeCollector
from agent.telemetry.sample import Collector


@dataclass(frozen=True, slots=True)
class Sources:
    """What collectors can't read from the host by themselves. All are called outside the event loop's thread."""

    config: TelemetryConfig
    uptime_seconds: Callable[[], float]
    spool: Callable[[], SpoolView]
    loop_lag_seconds: Callable[[], float]


# In the order they run. Those that can hang (a dead network mount, a sensor behind a stuck bus) come last:
# whoever stands behind them waits a tick.
COLLECTORS: Mapping[str, Callable[[Sources], Collector]] = {
    "agent": lambda s: own.AgentCollector(s.spool, s.loop_lag_seconds, own.reader()),
    "cpu": lambda _: CpuCollector(),
    "load": lambda _: LoadCollector(),
    "memory": lambda _: MemoryCollector(),
    "swap": lambda _: SwapCollector(),
    "disk": lambda _: DiskCollector(),
    "network": lambda _: NetworkCollector(),
    "uptime": lambda s: UptimeCollector(s.uptime_seconds),
    "process": lambda _: ProcessCollector(),
    "temperature": lambda _: TemperatureCollector(),
    "fan": lambda _: FanCollector(),
    "throttle": lambda _: ThrottleCollector(),
    "filesystem": lambda s: FilesystemCollector(s.config.mounts),
}


def build(sources: Sources) -> dict[str, Collector]:
    """The collectors that aren't disabled, by name. Raises ConfigError for a disabled name that doesn't exist."""
    unknown = set(sources.config.disabled) - set(COLLECTORS)
    if unknown:
        names = ", ".join(sorted(unknown))
        raise ConfigError(f"[telemetry] disabled: no collector is called {names}; there are {', '.join(COLLECTORS)}")
    return {name: make(sources) for name, make in COLLECTORS.items() if name not in sources.config.disabled}
