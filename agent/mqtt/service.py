"""The MQTT service: the broker's connection, the bridge, the registry and the commands, together."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from agent.backoff import full_jitter
from agent.clock import Clock
from agent.config.schema import MqttConfig
from agent.errors import AwayError, StorageError
from agent.model import DeviceView, Sink
from agent.mqtt.bridge import Bridge
from agent.mqtt.broker import Connection, connect
from agent.mqtt.commands.commands import Commands
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.registry.registry import Registry
from agent.mqtt.registry.registry_file import RegistryFile
from agent.runtime.service import pause
from agent.spec import DeviceRule

log = logging.getLogger(__name__)

_SAVE_SECONDS = 5.0
_BACKOFF_BASE_SECONDS = 0.2
_BACKOFF_CAP_SECONDS = 5.0
# A connection that lived shorter counts as another failure: two agents with one client id would else throw each
# other out without pause.
_STEADY_SECONDS = 10.0
_BEAT_SECONDS = 5.0


class MqttService:
    """Bridges devices.

    `apply_rules` must be called with the stored rules before `run`: until then everything is forwarded.
    """

    name = "mqtt"

    def __init__(
        self, config: MqttConfig, state_dir: Path, record: Sink, clock: Clock, draw: Callable[[], float]
    ) -> None:
        self._config = config
        self._clock = clock
        self._draw = draw
        self._file = RegistryFile(state_dir / "devices.sqlite")
        self._registry = Registry()
        self._bridge = Bridge(record, self._registry, clock, draw, config.receive_maximum)
        self._commands = Commands(clock, self._registry.get, self._publish)
        self._connection: Connection | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker is there and the subscription stands."""
        return self._connection is not None

    def devices(self) -> tuple[DeviceView, ...]:
        """By id."""
        return self._registry.views()

    def apply_rules(self, rules: tuple[DeviceRule, ...]) -> None:
        """All of them from the next message on; RefusedError BAD_REQUEST when one can't be, and the old ones stay."""
        self._bridge.rules.set_central(rules)

    async def send_command(
        self, device: str, name: str, payload: bytes, timeout_seconds: float, idempotency_key: str
    ) -> tuple[bytes, int]:
        """The device's answer and the milliseconds it took. Raises RefusedError (Commands.send says which)."""
        return await self._commands.send(device, name, payload, timeout_seconds, idempotency_key)

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        if not self._config.enabled:
            while not stop.is_set():
                beat()
                await pause(stop, _BEAT_SECONDS)
            return
        await self._restore()
        try:
            async with asyncio.TaskGroup() as group:
                connector = group.create_task(self._stay_connected(stop), name="mqtt-connector")
                group.create_task(self._keep_saved(stop), name="mqtt-registry")
                group.create_task(self._wake_at(stop), name="mqtt-stop")
                await self._bridge.drain(stop, beat)
                connector.cancel()
            await self._save()
        finally:
            await asyncio.to_thread(self._file.close)

    async def _stay_connected(self, stop: asyncio.Event) -> None:
        """A broker that is away is a state: it is said when it goes and when it comes, and tried for without end."""
        attempt = 0
        while not stop.is_set():
            began = self._clock.seconds()
            try:
                async with connect(self._config, self._deliver, self._bridge.forget) as connection:
                    self._connection = connection
                    log.info("broker connected", extra={"host": self._config.host, "port": self._config.port})
                    await connection.lost()
            except AwayError as why:
                if self._clock.seconds() - began > _STEADY_SECONDS:
                    attempt = 0
                level = logging.WARNING if attempt == 0 or self._connection is not None else logging.DEBUG
                log.log(level, "broker is away", extra={"reason": why, "attempt": attempt})
            finally:
                self._connection = None
            await asyncio.sleep(
                full_jitter(
                    attempt, base_seconds=_BACKOFF_BASE_SECONDS, cap_seconds=_BACKOFF_CAP_SECONDS, draw=self._draw()
                )
            )
            attempt += 1

    def _deliver(self, connection: Connection, delivery: Delivery) -> None:
        # An answer goes to its caller at once: a full disk must not keep a person at a locked door.
        self._commands.answer(delivery)
        self._bridge.deliver(connection, delivery)

    async def _publish(
        self, topic: str, payload: bytes, *, response_topic: str, correlation_data: bytes, expiry_seconds: int
    ) -> None:
        if self._connection is None:
            raise AwayError("the broker is away")
        await self._connection.publish(
            topic,
            payload,
            response_topic=response_topic,
            correlation_data=correlation_data,
            expiry_seconds=expiry_seconds,
        )

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._bridge.wake()

    async def _restore(self) -> None:
        try:
            self._registry.restore(await asyncio.to_thread(self._file.load))
        except StorageError as why:
            log.warning("device registry can't be read, begins empty", extra={"reason": why})

    async def _keep_saved(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await pause(stop, _SAVE_SECONDS)
            await self._save()

    async def _save(self) -> None:
        """Only what is durable in the spool too: else an online event could be lost that the file says was sent."""
        if not self._bridge.settled:
            return
        changes = self._registry.take_changes()
        if not changes.changed and not changes.gone:
            return
        try:
            await asyncio.to_thread(self._file.save, changes)
        except StorageError as why:
            self._registry.put_back(changes)
            log.warning("device registry can't be saved", extra={"reason": why})
