"""The way down, assembled: the control connection, the commands, and what tenants ask for."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.clock import Clock
from agent.config.schema import MqttConfig
from agent.errors import AwayError
from agent.model import Body, DeviceMessage, DeviceView, Event, Sink
from agent.mqtt import tenants
from agent.mqtt.access.accounts import Account
from agent.mqtt.commands.asked import TenantCommands
from agent.mqtt.commands.commands import Commands, Surroundings
from agent.mqtt.commands.queue_file import QueueFile
from agent.mqtt.commands.reports import Reports
from agent.mqtt.commands.route import Speaks
from agent.mqtt.control import Control
from agent.mqtt.rules.compile import Rule
from agent.mqtt.users import COMMANDS
from agent.mqtt.wire.delivery import Delivery
from agent.spec import MqttView, Residency

# Answers to native devices' commands; the other protocols have none.
ANSWERS = "devices/+/cmd/+/ack"


@dataclass(frozen=True, slots=True)
class Known:
    """What others know: devices that were heard of, those that are registered, runs and their grants, and rules.

    `views`: None while nobody knows which runs there are.
    """

    device: Callable[[str], DeviceView | None]
    rule: Callable[[str], Rule | None]
    account: Callable[[str], Account | None] = lambda _: None
    views: Callable[[], Iterable[MqttView] | None] = tuple


class Down:
    def __init__(
        self,
        config: MqttConfig,
        state_dir: Path,
        record: Sink,
        clock: Clock,
        draw: Callable[[], float],
        known: Known,
        password: str,
    ) -> None:
        """`password` is that of the user COMMANDS."""
        self._known = known
        self._record = record
        self.control = Control(config, COMMANDS, password, clock, draw)
        around = Surroundings(
            publish=self.control.publish,
            connected=lambda: self.control.connected,
            online=self._online,
            speaks=self._speaks,
            may=self._may,
            stays=self._stays,
        )
        reports = Reports(record, self.control.publish)
        self.commands = Commands(QueueFile(state_dir / "commands.db"), clock, around, reports)
        self._tenants = TenantCommands(self.commands, record, self.control.publish, self._may, clock)
        self.control.subscribe(ANSWERS, self.commands.answer)
        self.control.subscribe(tenants.COMMANDS, self._tenants.receive)
        self.control.on_connected.append(self.commands.broker_back)

    async def run(self) -> None:
        """Until cancelled. It must outlast whoever records through `record`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.control.run(), name="mqtt-commands-connection")
            group.create_task(self.commands.run(), name="mqtt-commands")
            group.create_task(self._tenants.run(), name="mqtt-tenant-commands")

    async def record(self, bodies: Sequence[Body]) -> None:
        """The bridge's Sink: an answer is on disk here before the broker may forget it. Our own commands are no news.

        Answers of before a restart come only this way; those that a rule keeps from becoming records don't.
        """
        kept: list[Body] = []
        for body in bodies:
            if isinstance(body, DeviceMessage):
                if body.topic.endswith("/ack"):
                    await self.commands.opened()
                    self.commands.answer(_delivery(body))
                elif body.correlation_data and self.commands.is_ours(body.topic, body.correlation_data):
                    continue
            kept.append(body)
        await self.commands.settle()
        if kept:
            await self._record(kept)
        for body in kept:
            if isinstance(body, Event) and body.kind == "device.online":
                self.commands.device_online(body.attributes["device"])

    def _online(self, device: str) -> bool | None:
        view = self._known.device(device)
        if view is None:
            return None if self._known.account(device) is None else False
        return view.online

    def _speaks(self, device: str) -> Speaks:
        account = self._known.account(device)
        return Speaks() if account is None else Speaks(account.protocol, account.group)

    def _may(self, tenant: str, device: str, name: str) -> MqttView | None:
        views = self._known.views()
        if views is None:
            raise AwayError("which jobs there are is not known yet")
        return tenants.may_command(tenants.Command(tenant, device, name), views, self._known.account(device))

    def _stays(self, topic: str) -> bool:
        rule = self._known.rule(topic)
        return rule is not None and (rule.spec.residency is Residency.STORE or bool(rule.spec.redact))


def _delivery(message: DeviceMessage) -> Delivery:
    return Delivery(
        message.topic,
        message.payload,
        message.qos,
        message.retained,
        message.redelivered,
        message.packet_id,
        correlation_data=message.correlation_data,
    )
