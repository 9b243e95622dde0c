"""A store around one jobs service: the test plays the launcher, fills the spool and moves time."""

import asyncio
from contextlib import asynccontextmanager

from agent.clock import Clock
from agent.config.schema import JobsConfig
from agent.errors import AwayError, StorageError
from agent.jobs.grants import Broker
from agent.jobs.runner import JobsService
from agent.model import Event, UsageSample
from tests.fakes.images import FakeImages
from tests.fakes.sandbox import FakeSandbox

SECOND = 1_000_000_000


class Time:
    def __init__(self):
        self.boot_nano, self.wall = 100 * SECOND, 1_700_000_000 * SECOND

    def clock(self, boot_id="boot-1"):
        return Clock(boot_id, wall_nano=lambda: self.wall, boottime_nano=lambda: self.boot_nano)

    def passes(self, seconds):
        self.boot_nano += int(seconds * SECOND)
        self.wall += int(seconds * SECOND)


class Shop:
    """What outlives the agent's process: its directory, the launcher, the spool, and time."""

    def __init__(self, directory):
        self.directory = directory
        self.time = Time()
        self.sandbox = FakeSandbox(directory, wall_nano=self.time.wall)
        self.images = FakeImages(self.sandbox)
        self.records = []
        self.signs = True
        self.config = JobsConfig(usage_interval_seconds=3600.0)
        self.spool_full = False
        self.beats = 0
        self.views = []  # each set of runs that the broker was told of
        self.broker = Broker(self.views.append, self.login)

    async def record(self, bodies):
        if self.spool_full:
            raise StorageError("full")
        self.records += bodies

    def build(self, boot_id="boot-1"):
        return JobsService(
            self.config,
            self.directory,
            self.sandbox,
            self.record,
            self.time.clock(boot_id),
            images=self.images,
            unseal=self.unseal,
            sign=self.sign,
            node_name="store-7",
            broker=self.broker,
        )

    async def unseal(self, tenant, job, secrets):
        return {secret.name: f"{tenant}/{job}/{secret.name}".encode() for secret in secrets}

    async def login(self, run, spec):
        return {"mqtt_username": f"job:{run}".encode(), "mqtt_password": b"derived"}

    async def sign(self, text):
        if not self.signs:
            raise AwayError("no key at the moment")
        return b"certificate", b"signed " + text

    @asynccontextmanager
    async def agent(self, wanted=None, *, boot_id="boot-1", recovered=True):
        jobs, stop = self.build(boot_id), asyncio.Event()
        if wanted is not None:
            await jobs.apply(wanted)

        def beat():
            self.beats += 1

        async with asyncio.TaskGroup() as group:
            task = group.create_task(jobs.run(stop, beat))
            try:
                if recovered:
                    await jobs.recovered.wait()
                yield jobs
            finally:
                stop.set()
                await task

    def states(self, job):
        return [r.state.value for r in self.records if isinstance(r, Event) and r.job == job]

    def usage(self, tenant="acme"):
        """Without repetitions, which are allowed after a crash, and must be identical."""
        links = {}
        for sample in self.records:
            if isinstance(sample, UsageSample) and sample.tenant == tenant:
                assert links.setdefault(sample.chain_index, sample) == sample
        return list(links.values())


async def until(condition, seconds=5.0):
    """The condition is a state that other tasks bring about; each look gives them a turn."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def view(jobs, id_):
    return next((v for v in jobs.jobs() if v.id == id_), None)


def state(jobs, id_):
    found = view(jobs, id_)
    return found.state if found else None
