"""The bulk session: connected again and again, and what comes over it bridged to the spool."""

import asyncio
import logging
from collections.abc import Callable

from agent.backoff import full_jitter
from agent.clock import Clock
from agent.config.schema import MqttConfig
from agent.errors import AwayError
from agent.mqtt.bridge import Bridge
from agent.mqtt.handled import Handled
from agent.mqtt.topics import SUBSCRIPTIONS
from agent.mqtt.users import AGENT
from agent.mqtt.wire.line import Line
from agent.runtime.notify import KeptSockets

log = logging.getLogger(__name__)

# Short: what devices publish while we are away is in the broker's memory only.
_BACKOFF_BASE_SECONDS = 0.05
_BACKOFF_CAP_SECONDS = 0.25
# A connection that lived shorter counts as another failure: two agents with one client id would else throw each
# other out without pause.
_STEADY_SECONDS = 1.0


class Bulk:
    """Owns `handled`: opens and closes it."""

    def __init__(
        self,
        config: MqttConfig,
        password: str,
        bridge: Bridge,
        handled: Handled,
        clock: Clock,
        draw: Callable[[], float],
        *,
        kept: KeptSockets,
        save: Callable[[], None],
    ) -> None:
        """`save` has the broker write what it knows: it must not forget a new session when it is killed."""
        self._config = config
        self._bridge = bridge
        self._handled = handled
        self._clock = clock
        self._draw = draw
        self._save = save
        self._is_new = False
        self._line = Line(config, AGENT, password, SUBSCRIPTIONS, bridge.deliver, bridge.forget, kept)

    @property
    def connected(self) -> bool:
        """Whether the broker is there and the subscription stands."""
        newest = self._line.newest
        return newest is not None and newest.is_connected

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Until `stop`; the batch in hand is finished."""
        self._handled.open()
        try:
            async with asyncio.TaskGroup() as group:
                connector = group.create_task(self._stay_connected(), name="mqtt-connector")
                waker = group.create_task(self._wake_at(stop), name="mqtt-stop")
                await self._bridge.drain(stop, beat)
                connector.cancel()
                waker.cancel()
        finally:
            self._line.close()
            self._handled.close()

    async def _stay_connected(self) -> None:
        """A broker that is away is a state: it is said when it goes and when it comes, and tried for without end."""
        await self._line.adopt()
        attempt = 0
        while True:
            began = self._clock.seconds()
            was_connected = False
            try:
                intake = self._line.newest
                if intake is None or intake.is_over:
                    intake = await self._line.connect()
                    self._is_new = self._is_new or intake.is_new
                await intake.subscribed()
                was_connected = True
                self._say_connected()
                await intake.ended()
            except AwayError as why:
                if self._clock.seconds() - began > _STEADY_SECONDS:
                    attempt = 0
                level = logging.WARNING if attempt == 0 or was_connected else logging.DEBUG
                log.log(level, "broker is away", extra={"reason": why, "attempt": attempt})
            await asyncio.sleep(
                full_jitter(
                    attempt, base_seconds=_BACKOFF_BASE_SECONDS, cap_seconds=_BACKOFF_CAP_SECONDS, draw=self._draw()
                )
            )
            attempt += 1

    def _say_connected(self) -> None:
        if self._is_new:
            self._is_new = False
            self._save()
        log.info("broker connected", extra={"host": self._config.host, "port": self._config.port})

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._bridge.wake()
