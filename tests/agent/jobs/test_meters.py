"""Meters: all that runs is read at the interval, memory more often, and what was billed is signed."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from agent.errors import AwayError
from agent.jobs import meters as module
from agent.jobs.book import Book
from agent.jobs.metering import ChainHead, Meter, Reading, seal_text
from agent.jobs.meters import Meters
from agent.jobs.store import Snapshot
from agent.model import UsageSample, UsageSeal
from tests.fakes.shop import until

RUNS = ("a.1.1", "b.1.1")


class Turns:
    """A loop without a disk: what is posted is done at once."""

    def __init__(self, book):
        self.book = book

    def post(self, entry):
        entry(self.book)

    async def settled(self):
        pass


class Bench:
    def __init__(self):
        begin = Reading(0, 0, 0, None)
        meters = {run: Meter(run, "acme", run[0], 1, 1, begin) for run in RUNS}
        self.book = Book(Snapshot({}, meters, {}, "boot-1"))
        self.read_runs, self.signed, self.away = [], [], False
        self.now = 0

    async def read(self, run):
        if self.away:
            raise AwayError("launcher is away")
        self.read_runs.append(run)
        self.now += 1
        return Reading(self.now, self.now, self.now, 100)

    async def sign(self, text):
        self.signed.append(text)
        if self.away:
            raise AwayError("no key")
        return b"certificate", b"signature"

    def told(self, kind):
        return [body for body in self.book._change.outbox if isinstance(body, kind)]

    @asynccontextmanager
    async def metering(self, usage=0.06, seal=3600.0):
        one = Meters(Turns(self.book), self.read, self.sign, usage_interval_seconds=usage, seal_interval_seconds=seal)
        task = asyncio.ensure_future(one.run(self.book))
        try:
            yield one
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(module, "_LOOK_SECONDS_A_RUN", 0.0)
    return Bench()


async def test_every_run_is_billed_at_the_interval_and_looked_at_in_between(bench) -> None:
    async with bench.metering():
        await until(lambda: len(bench.told(UsageSample)) >= 4)
    assert {sample.job for sample in bench.told(UsageSample)} == {"a", "b"}
    assert len(bench.read_runs) >= 3 * len(bench.told(UsageSample))


async def test_many_runs_are_only_looked_at_when_they_are_billed(bench, monkeypatch) -> None:
    monkeypatch.setattr(module, "_LOOK_SECONDS_A_RUN", 0.5)
    async with bench.metering():
        await until(lambda: len(bench.told(UsageSample)) >= 4)
    assert len(bench.read_runs) <= len(bench.told(UsageSample)) + len(RUNS)


async def test_while_the_launcher_is_away_nothing_is_billed_and_then_it_goes_on(bench) -> None:
    bench.away = True
    async with bench.metering(usage=0.01):
        await asyncio.sleep(0.05)
        assert bench.told(UsageSample) == []
        bench.away = False
        await until(lambda: bench.told(UsageSample))


async def test_what_was_billed_is_signed_once(bench) -> None:
    bench.book = Book(Snapshot({}, {}, {"bolt": ChainHead(3, b"b" * 32), "acme": ChainHead(2, b"a" * 32)}, "boot-1"))
    async with bench.metering(seal=0.01):
        await until(lambda: bench.told(UsageSeal))
        await asyncio.sleep(0.05)
    (seal,) = bench.told(UsageSeal)
    assert [(link.tenant, link.chain_index) for link in seal.heads] == [("acme", 2), ("bolt", 3)]
    assert (seal.certificate_der, seal.signature) == (b"certificate", b"signature")
    assert bench.signed == [seal_text(seal.heads)]


async def test_a_key_that_does_not_answer_is_asked_again_and_keeps_no_bill(bench) -> None:
    bench.away = True
    bench.book.unsealed = True
    async with bench.metering(seal=0.01):
        await until(lambda: len(bench.signed) >= 2)
        assert bench.told(UsageSeal) == []
        bench.away = False
        await until(lambda: bench.told(UsageSeal) and bench.told(UsageSample))


async def test_at_the_end_what_is_left_is_signed_unless_that_takes_too_long(bench, monkeypatch) -> None:
    monkeypatch.setattr(module, "_LAST_SEAL_SECONDS", 0.02)
    bench.book.unsealed = True
    async with bench.metering() as one:
        await one.seal_at_the_end(bench.book)
        assert bench.told(UsageSeal)

        async def never(text):
            await asyncio.Event().wait()

        one._sign = never
        bench.book.unsealed = True
        async with asyncio.timeout(5):
            await one.seal_at_the_end(bench.book)
