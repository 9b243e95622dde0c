"""Stand-ins for what surrounds the bridge: a bulk connection that remembers acks, and a sink that can be full."""

import asyncio

from agent.clock import Clock
from agent.errors import StorageError
from agent.model import Body, DeviceMessage, Event


class FakeIntake:
    """`acknowledged` are packet ids, `writes` how many at once, `on_acknowledged` is called after each."""

    def __init__(self):
        self.acknowledged: list[int] = []
        self.writes: list[int] = []
        self.on_acknowledged = lambda: None
        self.settled = asyncio.Event()
        self.settled.set()

    def acknowledge(self, deliveries):
        self.acknowledged += [each.packet_id for each in deliveries if each.packet_id]
        self.writes.append(len(deliveries))
        self.on_acknowledged()


class FakeSink:
    """Durable at once, or raises StorageError while `full`; `tried` is set at every attempt."""

    def __init__(self):
        self.full = False
        self.batches: list[list[Body]] = []
        self.tried = asyncio.Event()

    async def __call__(self, bodies):
        self.tried.set()
        if self.full:
            raise StorageError("disk full")
        self.batches.append(list(bodies))

    @property
    def messages(self):
        return [b for batch in self.batches for b in batch if isinstance(b, DeviceMessage)]

    @property
    def events(self):
        return [b for batch in self.batches for b in batch if isinstance(b, Event)]


class FakeTime:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.nano = 1_000_000_000_000

    def clock(self):
        return Clock("boot-1", wall_nano=lambda: self.nano, boottime_nano=lambda: self.nano)

    def pass_seconds(self, seconds):
        self.nano += int(seconds * 1e9)
