"""The telemetry service, with the real collectors of whatever host this is."""

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import system_clock
from agent.config.schema import HeatConfig, TelemetryConfig
from agent.errors import ConfigError, StorageError
from agent.model import Body, Event, MetricBatch, MetricKind, SpoolView
from agent.telemetry import sampler as subject
from agent.telemetry.collectors import COLLECTORS
from agent.telemetry.sample import Sample
from agent.telemetry.sampler import TelemetryService, next_due

ONLY_UPTIME = tuple(name for name in COLLECTORS if name != "uptime")
STAND_STILL = 3600.0


@dataclass
class Spool:
    """A sink that refuses the first `refusals` times; `taken` is set once it has `wanted` batches."""

    refusals: int = 0
    wanted: int = 1
    calls: int = 0
    batches: list[MetricBatch] = field(default_factory=list[MetricBatch])
    taken: asyncio.Event = field(default_factory=asyncio.Event)

    async def record(self, bodies: Sequence[Body]) -> None:
        self.calls += 1
        if self.calls <= self.refusals:
            raise StorageError("disk full")
        self.batches += [body for body in bodies if isinstance(body, MetricBatch)]
        if len(self.batches) >= self.wanted:
            self.taken.set()

    def view(self) -> SpoolView:
        return SpoolView("epoch", 7, 100, ())


def service(spool: Spool, interval: float, ticks: int, disabled: tuple[str, ...] = ONLY_UPTIME) -> TelemetryService:
    config = TelemetryConfig(interval_seconds=interval, batch_ticks=ticks, disabled=disabled)
    return TelemetryService(config, spool.record, system_clock(), spool.view)


async def until_taken(telemetry: TelemetryService, spool: Spool) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(telemetry.run(stop, lambda: None))
        await spool.taken.wait()
        stop.set()


async def test_a_batch_is_recorded_after_so_many_ticks() -> None:
    spool = Spool()
    await until_taken(service(spool, 0.01, 3), spool)
    assert len(spool.batches[0].tick_delta_milli) == 3
    assert "system.uptime" in spool.batches[0].strings


async def test_no_tick_is_recorded_twice() -> None:
    spool = Spool(wanted=3)
    await until_taken(service(spool, 0.01, 2), spool)
    assert [len(batch.tick_delta_milli) for batch in spool.batches[:3]] == [2, 2, 2]


async def test_what_there_is_gets_recorded_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "PULSE_SECONDS", 0.001)
    spool, stop = Spool(), asyncio.Event()
    beats = 0

    def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 2:  # the first tick is done, the next an hour away
            stop.set()

    await service(spool, STAND_STILL, 600).run(stop, beat)
    assert [len(batch.tick_delta_milli) for batch in spool.batches] == [1]


async def test_every_collector_of_the_table_reports_here_and_none_fails() -> None:
    spool = Spool()
    await until_taken(service(spool, 0.01, 2, disabled=()), spool)
    batch = spool.batches[0]
    reported: dict[str, int] = {}
    for series in batch.series:
        if batch.strings[series.name] == "edge.agent.collector.success":
            reported[batch.strings[series.attributes[1]]] = series.value_deltas[0]
    assert reported == dict.fromkeys(COLLECTORS, 1)


async def test_ticks_that_the_disk_refuses_are_kept_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    spool = Spool(refusals=3)
    await until_taken(service(spool, 0.005, 2), spool)
    assert len(spool.batches[0].tick_delta_milli) == 8
    assert [record.message for record in caplog.records] == [
        "telemetry can't be recorded",
        "telemetry is recorded again",
    ]


async def test_only_the_newest_ticks_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "KEEP_TICKS", 4)
    spool = Spool(refusals=10)
    await until_taken(service(spool, 0.002, 1), spool)
    assert len(spool.batches[0].tick_delta_milli) == 4


async def test_an_end_with_a_full_disk_is_still_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "PULSE_SECONDS", 0.001)
    spool, stop = Spool(refusals=99), asyncio.Event()
    stop_soon = iter((lambda: None, stop.set))
    await service(spool, STAND_STILL, 600).run(stop, lambda: next(stop_soon)())
    assert spool.calls == 1


async def test_it_beats_while_the_next_tick_is_far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "PULSE_SECONDS", 0.001)
    stop, beats = asyncio.Event(), 0

    def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 20:
            stop.set()

    await service(Spool(), STAND_STILL, 600).run(stop, beat)
    assert beats == 20


async def test_a_loop_that_comes_back_late_shows_as_lag() -> None:
    telemetry, stop = service(Spool(), STAND_STILL, 600), asyncio.Event()
    loop = asyncio.get_running_loop()

    def block() -> None:
        until = loop.time() + 0.1
        while loop.time() < until:
            pass

    loop.call_later(0.001, block)
    await telemetry._pause(stop, 0.01)
    assert telemetry._lag_seconds > 0.05


def test_a_collector_that_does_not_exist_stops_the_start() -> None:
    with pytest.raises(ConfigError, match=r"no collector is called gpu; there are agent, cpu, load"):
        service(Spool(), 1, 1, disabled=("gpu", "cpu"))


@given(st.floats(0, 1e7), st.floats(0.1, 3600), st.floats(0, 1e6))
def test_the_next_tick_is_on_the_grid_and_at_most_one_interval_away(due: float, interval: float, late: float) -> None:
    following = next_due(due, interval, due + late)
    steps = (following - due) / interval
    assert math.isclose(steps, round(steps), abs_tol=1e-3)
    assert -1e-6 <= following - (due + late) <= interval + 1e-6


class _Oven:
    """A collector of one sensor, a reading for each look."""

    def __init__(self, *celsius: float) -> None:
        self._celsius = list(celsius)

    def collect(self) -> list[Sample]:
        now = self._celsius.pop(0) if len(self._celsius) > 1 else self._celsius[0]
        return [Sample("hw.temperature", now, "Cel", MetricKind.GAUGE, (("hw.id", "cpu/1"),))]


async def test_heat_is_told_once_recorded_once_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "build", lambda _: {"temperature": _Oven(20, 95, 95, 85, 20)})
    stop, told, events = asyncio.Event(), list[str](), list[Event]()

    async def record(bodies: Sequence[Body]) -> None:
        events.extend(body for body in bodies if isinstance(body, Event))
        if len(events) == 2:
            stop.set()

    telemetry = TelemetryService(
        TelemetryConfig(interval_seconds=0.01, batch_ticks=600),
        record,
        system_clock(),
        Spool().view,
        heat=HeatConfig(hold_seconds=0.0),
        feel=told.append,
    )
    await telemetry.run(stop, lambda: None)
    why = "the box is too hot: cpu/1 at 95 degrees Celsius, the limit is 90"
    assert told == [why, ""]
    assert [(event.kind, event.message) for event in events] == [("node.hot", why), ("node.cool", "")]
    assert telemetry.heat == ""


async def test_heat_is_felt_even_when_it_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "build", lambda _: {"temperature": _Oven(95)})
    stop, told = asyncio.Event(), list[str]()

    async def refuse(_: Sequence[Body]) -> None:
        stop.set()
        raise StorageError("disk full")

    telemetry = TelemetryService(
        TelemetryConfig(interval_seconds=0.01, batch_ticks=600),
        refuse,
        system_clock(),
        Spool().view,
        heat=HeatConfig(hold_seconds=0.0),
        feel=told.append,
    )
    await telemetry.run(stop, lambda: None)
    assert len(told) == 1 and telemetry.heat == told[0]
