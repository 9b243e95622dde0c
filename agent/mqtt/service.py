"""The MQTT service: the broker's connection, the bridge, the registry and the commands, together."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.clock import Clock
from agent.config.schema import MqttConfig
from agent.errors import RefusedError, StorageError
from agent.model import Sink
from agent.mqtt.access.secret import load_or_make
from agent.mqtt.bridge import Bridge
from agent.mqtt.bulk import Bulk
from agent.mqtt.commands.down import Down, Known
from agent.mqtt.control import Control
from agent.mqtt.gate import Gate
from agent.mqtt.handled import Handled
from agent.mqtt.registry.keeper import Keeper
from agent.mqtt.registry.registry import Registry
from agent.mqtt.registry.registry_file import RegistryFile
from agent.mqtt.rules import operators_kept
from agent.mqtt.rules.backlog import Backlog
from agent.mqtt.rules.held import Held
from agent.mqtt.rules.releaser import Releaser
from agent.mqtt.rules.rules import Rules
from agent.mqtt.users import AGENT, COMMANDS, CONTROL, RETAINED
from agent.mqtt.views import Views
from agent.orders import CommandAnswer, CommandOrder, CommandView, DeviceOrder, DevicePage, DeviceQuery, IssuedDevices
from agent.runtime.notify import KeptSockets
from agent.runtime.service import pause
from agent.spec import DeviceRule

log = logging.getLogger(__name__)

_BEAT_SECONDS = 5.0


class MqttService:
    """Bridges devices.

    `apply_rules` must be called with the stored rules before `run`: until then everything is forwarded.
    """

    name = "mqtt"

    def __init__(
        self,
        config: MqttConfig,
        state_dir: Path,
        record: Sink,
        clock: Clock,
        draw: Callable[[], float],
        kept: KeptSockets,
    ) -> None:
        """Raises StorageError, CorruptError, when what all passwords are derived from can't be read or made."""
        self._config = config
        self._state_dir = state_dir
        self._clock = clock
        self._draw = draw
        self._registry = Registry(config.max_devices)
        backlog = Backlog()
        self._held = Held(state_dir / "held.db", backlog, clock, lambda: os.urandom(16).hex())
        self._rules = Rules(backlog, self._held.hurry)
        self._releaser = Releaser(self._held, self._rules, record, clock, draw)
        handled = Handled(state_dir / "mqtt-handled")
        # Without it the agent itself couldn't log in.
        secret = load_or_make(state_dir) if config.enabled else b""
        self._gate = Gate(secret, state_dir, config.broker_dir, record, clock, self._forget)
        self._gate.on_accounts.append(lambda: self._registry.follow(self._gate.accounts.all()))
        known = Known(
            device=self._registry.get,
            account=self._gate.accounts.get,
            views=lambda: self._gate.views.now,
            rule=lambda topic: self._rules.find(topic),  # noqa: PLW0108  another one after each change of the rules
        )
        self._down = Down(config, state_dir, record, clock, draw, known, self._gate.password(COMMANDS))
        self._control = Control(config, CONTROL, self._gate.password(CONTROL), clock, draw)
        self._gate.attach(
            self._control,
            self._down.control,
            lambda: Control(config, RETAINED, self._gate.password(RETAINED), clock, draw),
        )
        self._bridge = Bridge(self._down.record, self._registry, self._rules, self._held, handled, clock, draw)
        self._kept = kept
        self._bulk = Bulk(
            config,
            self._gate.password(AGENT),
            self._bridge,
            handled,
            clock,
            draw,
            kept=kept,
            save=self._gate.save_broker,
        )
        self._keeper = Keeper(
            self._registry,
            RegistryFile(state_dir / "devices.sqlite"),
            record,
            clock,
            self._down.control.publish,
            lambda: self._bulk.connected,
            lambda: self._bridge.settled,
            self._rules.set_loud,
        )

    @property
    def connected(self) -> bool:
        """Whether the broker is there and the subscriptions stand."""
        return self._bulk.connected and self._down.control.connected and self._control.connected

    def devices(self, query: DeviceQuery) -> DevicePage:
        """Those that were heard of or are registered."""
        return self._registry.page(query, self._clock.wall_nano())

    async def read_rules(self) -> None:
        """The operator's file, before `run` and after each change. Raises ConfigError if it was never right."""
        if self._config.enabled:
            kept = self._state_dir / "rules.kept.toml"
            self._rules.set_operator(await asyncio.to_thread(operators_kept.current, self._config.rules_file, kept))

    def apply_rules(self, rules: tuple[DeviceRule, ...]) -> None:
        """All of them from the next message on; RefusedError BAD_REQUEST when one can't be, and the old ones stay."""
        self._rules.set_central(rules)

    async def send_command(self, order: CommandOrder) -> CommandAnswer:
        """Raises RefusedError, StorageError (Commands.send says which)."""
        return await self._down.commands.send(order)

    def commands(self) -> Sequence[CommandView]:
        """By id: under way, and ended lately."""
        return self._down.commands.views()

    async def cancel_command(self, command: str, actor: str) -> None:
        """Raises RefusedError NOT_FOUND, CONFLICT; StorageError."""
        await self._down.commands.cancel(command, actor)

    async def put_devices(self, orders: Sequence[DeviceOrder], check: bool) -> IssuedDevices:
        """Raises RefusedError, StorageError, AwayError (Identities.put says which)."""
        self._needs_broker()
        return await self._gate.identities.put(orders, check=check)

    async def revoke_device(self, device: str, forget: bool) -> bool:
        """Raises RefusedError, StorageError (Identities.revoke says which)."""
        self._needs_broker()
        return await self._gate.identities.revoke(device, forget=forget)

    @property
    def views(self) -> Views:
        """What the jobs service tells of runs, and asks for them."""
        return self._gate.views

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        if not self._config.enabled:
            self._kept.take("")  # what was left when it was enabled
            while not stop.is_set():
                beat()
                await pause(stop, _BEAT_SECONDS)
            return
        await self._keeper.restore()
        while not await self._opened():
            if stop.is_set():
                return
            beat()
            await pause(stop, _BEAT_SECONDS)
        try:
            async with asyncio.TaskGroup() as group:
                gate = group.create_task(self._gate.run(), name="mqtt-gate")
                control = group.create_task(self._control.run(), name="mqtt-control")
                down = group.create_task(self._down.run(), name="mqtt-down")
                releaser = group.create_task(self._releaser.run(), name="mqtt-releaser")
                group.create_task(self._keeper.run(stop), name="mqtt-registry")
                await self._bulk.run(stop, beat)
                gate.cancel()
                control.cancel()
                down.cancel()
                releaser.cancel()
        finally:
            await self._held.close()
            await self._keeper.close()
            await self._gate.close()

    async def _opened(self) -> bool:
        """Without accounts nobody could be let in, without what is held its order would be lost: both are waited for.

        Meanwhile the broker keeps what devices send.
        """
        try:
            await self._gate.open()
            await self._held.restore()
        except StorageError as why:
            log.warning("devices can't be served yet", extra={"reason": why})
            await self._held.close()
            await self._gate.close()
            return False
        return True

    def _needs_broker(self) -> None:
        if not self._config.enabled:
            raise RefusedError("UNIMPLEMENTED", "no broker here: [mqtt] enabled is false")

    def _forget(self, device: str) -> bool:
        known = self._registry.get(device) is not None
        self._registry.forget(device)
        return known
