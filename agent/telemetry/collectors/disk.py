"""What whole disks read and wrote."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import psutil

from agent.model import MetricKind
from agent.telemetry.sample import Sample

# Partitions, memory and loop devices repeat what whole disks say. As node_exporter's default
# (collector/diskstats_common.go), with eMMC's and SD cards' partitions besides.
_NOT_A_DISK = re.compile(r"(z?ram|loop|fd|(h|s|v|xv)d[a-z]+|nvme\d+n\d+p|mmcblk\d+(p|boot))\d+|mmcblk\d+rpmb")


class Disk(NamedTuple):
    """Since boot."""

    reads: int
    writes: int
    read_bytes: int
    write_bytes: int
    busy_milli: int


def read() -> dict[str, Disk]:
    # nowrap keeps every counter ever seen in order to mend 32-bit wraps; whoever reads a counter knows resets anyway.
    disks = psutil.disk_io_counters(perdisk=True, nowrap=False)
    return {
        name: Disk(now.read_count, now.write_count, now.read_bytes, now.write_bytes, now.busy_time)
        for name, now in disks.items()
        if not _NOT_A_DISK.fullmatch(name)
    }


@dataclass(frozen=True, slots=True)
class DiskCollector:
    read: Callable[[], Mapping[str, Disk]] = read

    def collect(self) -> Iterator[Sample]:
        for name, disk in self.read().items():
            device = ("system.device", name)
            for direction, size, count in (
                ("read", disk.read_bytes, disk.reads),
                ("write", disk.write_bytes, disk.writes),
            ):
                attributes = (device, ("disk.io.direction", direction))
                yield Sample("system.disk.io", size, "By", MetricKind.COUNTER, attributes)
                yield Sample("system.disk.operations", count, "{operation}", MetricKind.COUNTER, attributes)
            yield Sample("system.disk.io_time", disk.busy_milli / 1000, "s", MetricKind.COUNTER, (device,))
