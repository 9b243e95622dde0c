"""Space on each configured mount."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from agent.model import MetricKind
from agent.telemetry.sample import Sample


class Mount(NamedTuple):
    """A line of /proc/self/mounts; `mode` is rw or ro."""

    path: str
    device: str
    type: str
    mode: str


class Space(NamedTuple):
    """Bytes; `free` is what an unprivileged user can have."""

    total: int
    used: int
    free: int


def read_mounts() -> list[Mount]:
    return [Mount(p.mountpoint, p.device, p.fstype, p.opts.partition(",")[0]) for p in psutil.disk_partitions(all=True)]


def read_space(path: str) -> Space:
    """Blocks for as long as the file system does (statvfs)."""
    now = psutil.disk_usage(path)
    return Space(now.total, now.used, now.free)


@dataclass(frozen=True, slots=True)
class FilesystemCollector:
    """A mount that has gone away is a reading (`edge.filesystem.mounted` 0), and the others are still reported.

    Whether it is there is asked of the mount table: the empty directory left behind would give its parent's figures.
    """

    mounts: tuple[Path, ...]
    read_mounts: Callable[[], Iterable[Mount]] = read_mounts
    read_space: Callable[[str], Space] = read_space

    def collect(self) -> Iterator[Sample]:
        mounted = {mount.path: mount for mount in self.read_mounts()}  # the last one mounted over a path counts
        for path in map(str, self.mounts):
            try:
                mount = mounted[path]
                space = self.read_space(path)
            except (KeyError, FileNotFoundError):
                yield _mounted(path, 0)
                continue
            yield _mounted(path, 1)
            yield from _space(mount, space)


def _mounted(path: str, value: int) -> Sample:
    attributes = (("system.filesystem.mountpoint", path),)
    return Sample("edge.filesystem.mounted", value, "1", MetricKind.GAUGE, attributes)


def _space(mount: Mount, space: Space) -> Iterator[Sample]:
    where = (
        ("system.device", mount.device),
        ("system.filesystem.mode", mount.mode),
        ("system.filesystem.mountpoint", mount.path),
        ("system.filesystem.type", mount.type),
    )
    reserved = space.total - space.used - space.free
    for state, size in (("used", space.used), ("free", space.free), ("reserved", reserved)):
        attributes = (*where, ("system.filesystem.state", state))
        yield Sample("system.filesystem.usage", size, "By", MetricKind.UP_DOWN_COUNTER, attributes)
    yield Sample("system.filesystem.limit", space.total, "By", MetricKind.UP_DOWN_COUNTER, where)
    if space.total:  # procfs and its like have no size
        attributes = (*where, ("system.filesystem.state", "used"))
        share = round(space.used / space.total, 4)
        yield Sample("system.filesystem.utilization", share, "1", MetricKind.GAUGE, attributes)
