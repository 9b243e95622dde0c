"""The service: samples on time, batches, records."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence

from agent.clock import Clock
from agent.config.schema import HeatConfig, TelemetryConfig
from agent.errors import StorageError
from agent.model import Event, Sink, SpoolView
from agent.runtime.service import pause
from agent.telemetry.batch import Tick, encode
from agent.telemetry.collectors import Sources, build
from agent.telemetry.heat import COOL, step
from agent.telemetry.runner import Runner
from agent.telemetry.sample import Sample, SeriesKey

log = logging.getLogger(__name__)

COLLECT_TIMEOUT_SECONDS = 2.0
PULSE_SECONDS = 1.0  # how often it wakes to beat, and to see how late the loop is
KEEP_TICKS = 60  # in memory while the disk refuses, at most (or one batch, when that is more)


_NO_LIMIT = HeatConfig(limit_celsius=0.0)


def next_due(due: float, interval: float, now: float) -> float:
    """The next moment after `now`, itself not before `due`, on the grid of `due`: no drift, no burst after a pause."""
    return due + interval * (math.floor((now - due) / interval) + 1)


class TelemetryService:
    """Samples every `interval_seconds` of CLOCK_BOOTTIME, and records after each `batch_ticks` of them.

    The constructor raises ConfigError for an unknown collector in `disabled`.
    """

    name = "telemetry"

    def __init__(
        self,
        config: TelemetryConfig,
        record: Sink,
        clock: Clock,
        spool_view: Callable[[], SpoolView],
        *,
        heat: HeatConfig = _NO_LIMIT,
        feel: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`feel` hears why the box has become too hot for the work of tenants, and "" when it no longer is."""
        self._config = config
        self._record = record
        self._clock = clock
        self._spool_view = spool_view
        self._spool = spool_view()
        self._lag_seconds = 0.0
        sources = Sources(config, clock.seconds, lambda: self._spool, lambda: self._lag_seconds)
        self._runner = Runner(build(sources), clock.seconds)
        self._ticks: deque[Tick] = deque(maxlen=max(KEEP_TICKS, config.batch_ticks))
        self._keys: dict[SeriesKey, SeriesKey] = {}  # one copy of each for all ticks
        self._unrecorded = 0  # ticks since the last attempt to record
        self._refused = False
        self._heat_config, self._heat, self._feel = heat, COOL, feel

    @property
    def heat(self) -> str:
        """Why the box is too hot for the work of tenants, for people; empty while it isn't."""
        return self._heat.why

    def configure(self, config: TelemetryConfig, heat: HeatConfig) -> None:
        """From the next sample on; of `config` only how often is sampled and how many samples make a batch."""
        self._config, self._heat_config = config, heat
        self._ticks = deque(self._ticks, maxlen=max(KEEP_TICKS, config.batch_ticks))

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        due = self._clock.seconds()
        while not stop.is_set():
            beat()
            if self._clock.seconds() >= due:
                await self._tick()
                if self._unrecorded >= self._config.batch_ticks:
                    beat()
                    await self._flush()
                due = next_due(due, self._config.interval_seconds, self._clock.seconds())
            await self._pause(stop, min(PULSE_SECONDS, max(0.0, due - self._clock.seconds())))
        await self._flush()

    async def _tick(self) -> None:
        self._spool = self._spool_view()  # here, in the loop's thread, where the spool lives
        moment = self._clock.boottime_nano()
        samples = await self._runner.collect(COLLECT_TIMEOUT_SECONDS)
        self._lag_seconds = 0.0
        keys = self._keys
        self._ticks.append(Tick(moment, {keys.setdefault(s.series, s.series): s.value for s in samples}))
        self._unrecorded += 1
        await self._watch_heat(samples)

    async def _watch_heat(self, samples: Sequence[Sample]) -> None:
        before, self._heat = self._heat, step(self._heat, self._heat_config, samples, self._clock.seconds())
        why = self._heat.why
        if why == before.why:
            return
        log.warning("too hot for the work of tenants" if why else "cool enough again", extra={"reason": why})
        self._feel(why)
        try:
            await self._record([Event("node.hot" if why else "node.cool", message=why)])
        except StorageError as error:
            log.warning("heat not recorded", extra={"reason": error})

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        await pause(stop, seconds)
        self._lag_seconds = max(self._lag_seconds, loop.time() - until)

    async def _flush(self) -> None:
        """Record what there is. What the disk refuses stays, newest first, for the next batch."""
        self._unrecorded = 0
        if not self._ticks:
            return
        batches = await asyncio.to_thread(
            encode,
            tuple(self._ticks),
            wall_unix_nano=self._clock.wall_nano(),
            boottime_nano=self._clock.boottime_nano(),
        )
        try:
            await self._record(batches)
        except StorageError as error:
            if not self._refused:
                log.warning("telemetry can't be recorded", extra={"error": error, "kept_ticks": self._ticks.maxlen})
            self._refused = True
            return
        if self._refused:
            log.info("telemetry is recorded again", extra={"ticks": len(self._ticks)})
        self._refused = False
        self._ticks.clear()
        self._keys.clear()
