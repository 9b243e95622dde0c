"""What each network interface sent and received."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import psutil

from agent.model import MetricKind
from agent.telemetry.sample import Sample


class Flow(NamedTuple):
    """One direction of an interface, since it exists."""

    size: int
    packets: int
    errors: int
    dropped: int


class Interface(NamedTuple):
    receive: Flow
    transmit: Flow


def read() -> dict[str, Interface]:
    interfaces = psutil.net_io_counters(pernic=True, nowrap=False)  # nowrap: see disk.py
    return {
        name: Interface(
            receive=Flow(now.bytes_recv, now.packets_recv, now.errin, now.dropin),
            transmit=Flow(now.bytes_sent, now.packets_sent, now.errout, now.dropout),
        )
        for name, now in interfaces.items()
    }


@dataclass(frozen=True, slots=True)
class NetworkCollector:
    read: Callable[[], Mapping[str, Interface]] = read

    def collect(self) -> Iterator[Sample]:
        for name, interface in self.read().items():
            for direction, flow in (("receive", interface.receive), ("transmit", interface.transmit)):
                attributes = (("network.interface.name", name), ("network.io.direction", direction))
                yield Sample("system.network.io", flow.size, "By", MetricKind.COUNTER, attributes)
                yield Sample("system.network.packet.count", flow.packets, "{packet}", MetricKind.COUNTER, attributes)
                yield Sample("system.network.errors", flow.errors, "{error}", MetricKind.COUNTER, attributes)
                yield Sample("system.network.packet.dropped", flow.dropped, "{packet}", MetricKind.COUNTER, attributes)
