"""Stand-ins for what surrounds commands: a broker that remembers what it was given, and a bench with a real file."""

import asyncio
from contextlib import asynccontextmanager

from agent.errors import AwayError, StorageError
from agent.mqtt.commands.asked import TenantCommands
from agent.mqtt.commands.commands import Commands, Surroundings
from agent.mqtt.commands.queue import Command
from agent.mqtt.commands.queue_file import QueueFile
from agent.mqtt.commands.reports import Reports
from agent.mqtt.commands.route import Speaks
from agent.mqtt.control import LostError
from agent.mqtt.wire.delivery import Delivery
from agent.orders import CommandOrder
from tests.fakes.mqtt_parts import FakeSink, FakeTime


def command(id_="c-1", **fields):
    """A command of the store's own, for device `d`, that expires at 1,000 s of boot `boot-1`."""
    given = {
        "id": id_,
        "scope": "",
        "actor": "local:uid=0",
        "device": "d",
        "name": "open",
        "payload": b"3",
        "key": "",
        "at_least_once": False,
        "kept": False,
        "answered_by_device": True,
        "asked_unix_nano": 1,
        "expires_unix_nano": 1_000_000_000_001,
        "boot_id": "boot-1",
        "expires_seconds": 1000.0,
    }
    return Command(**{**given, **fields})


def order(device="locker", name="open", payload=b"3", timeout=5.0, key="", **fields):
    given = {"actor": "local:uid=0", "idempotency_key": key, **fields}
    return CommandOrder(device=device, name=name, payload=payload, timeout_seconds=timeout, **given)


class FakeBroker:
    """Takes what is published; `away`: nothing was sent; `lost`: nobody knows whether it was."""

    def __init__(self):
        self.sent: list[dict] = []
        self.away = False
        self.lost = False
        self._came = asyncio.Event()

    async def publish(self, topic, payload, **properties):
        if self.away:
            raise AwayError("the broker is away")
        self.sent.append({"topic": topic, "payload": payload, **properties})
        self._came.set()
        if self.lost:
            raise LostError("lost")

    async def until_sent(self, count):
        while len(self.sent) < count:
            self._came.clear()
            await self._came.wait()


class FullFile(QueueFile):
    """A file on a disk that can be full."""

    full = False

    def save(self, changed, last):
        if self.full:
            raise StorageError("disk full")
        super().save(changed, last)


class CommandBench:
    """Commands as they are, with the file at `path`: open another bench on it, and it is a restart."""

    def __init__(self, path, time=None):
        self.time = time or FakeTime()
        self.broker = FakeBroker()
        self.sink = FakeSink()
        self.online: dict[str, bool] = {"locker": True, "gone": False}
        self.granted: dict[tuple[str, str, str], object] = {}
        self.speaks: dict[str, Speaks] = {}
        self.kept_in_store: set[str] = set()
        self.nobody_knows = False
        self.file = FullFile(path)
        clock = self.time.clock()
        self.commands = Commands(
            self.file,
            clock,
            Surroundings(
                publish=self.broker.publish,
                connected=lambda: not self.broker.away,
                online=self.online.get,
                speaks=lambda device: self.speaks.get(device, Speaks()),
                may=self.may,
                stays=self.kept_in_store.__contains__,
            ),
            Reports(self.sink, self.broker.publish),
        )
        self.tenants = TenantCommands(self.commands, self.sink, self.broker.publish, self.may, clock)

    def may(self, tenant, device, name):
        if self.nobody_knows:
            raise AwayError("not known yet")
        return self.granted.get((tenant, device, name))

    @asynccontextmanager
    async def running(self):
        tasks = []
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(self.commands.run()), group.create_task(self.tenants.run())]
            while not self.commands._series:
                await asyncio.sleep(0)
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()

    def send(self, **fields):
        return self.commands.send(order(**fields))

    def answer(self, payload, correlation=b"", topic="devices/locker/cmd/open/ack", retained=False):
        self.commands.answer(Delivery(topic, payload, 1, retained, False, 1, correlation_data=correlation))

    def audits(self, outcome=None):
        found = [b for batch in self.sink.batches for b in batch if getattr(b, "action", "") == "device.command"]
        return [b for b in found if outcome is None or b.outcome == outcome]

    def later(self, seconds):
        """Time passes, and is noticed at once."""
        self.time.pass_seconds(seconds)
        self.commands._stir.set()

    async def until(self, done):
        """Let everything else run until `done()`."""
        async with asyncio.timeout(10):
            while not done():
                await asyncio.sleep(0.001)
