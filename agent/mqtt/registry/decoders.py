"""Which decoder a message is for, and what is learnt from it."""

from collections.abc import Iterable

from agent.mqtt.registry import readings, zigbee
from agent.mqtt.registry.channels import Announced, Channels
from agent.mqtt.registry.decoded import PLAIN, Decoded
from agent.mqtt.registry.nodes import Nodes
from agent.mqtt.topics import DeviceTopic, Kind
from agent.mqtt.wire.delivery import Delivery

_BIRTHS = frozenset({"NBIRTH", "DBIRTH"})


class Decoders:
    """Sparkplug, what was announced by discovery, and zigbee2mqtt's own."""

    def __init__(self) -> None:
        self.channels = Channels()
        self.nodes: Nodes | None = None

    def decode(self, where: DeviceTopic, delivery: Delivery) -> Decoded:
        match where.kind:
            case Kind.CHANNEL | Kind.STATUS | Kind.ACK:
                return self._announced(delivery)
            case Kind.ZIGBEE:
                return self._zigbee(where, delivery)
            case Kind.DISCOVERY:
                return self.channels.learn(delivery.topic, delivery.payload)
            case Kind.SPARKPLUG:
                # What the broker had retained tells of the past; an edge node retains nothing (Sparkplug 3.0, 6.4).
                return PLAIN if delivery.retained else self._sparkplug(where, delivery)
            case Kind.COMMAND:
                return PLAIN

    def hide(self, where: DeviceTopic, topic: str) -> None:
        """The message that was decoded last stays in the store: what was learnt from it is forgotten.

        Names and units would else leave with the messages that they are for.
        """
        if where.kind is Kind.DISCOVERY or topic == zigbee.LIST:
            self.channels.forget(topic)
        elif where.message_type in _BIRTHS and self.nodes is not None:
            self.nodes.hide(where)

    def take_rebirths(self, now_unix_nano: int) -> tuple[tuple[str, str], ...]:
        return () if self.nodes is None else self.nodes.take_rebirths(now_unix_nano)

    def restore(self, announced: Iterable[Announced]) -> None:
        self.channels.restore(announced)

    def _announced(self, delivery: Delivery) -> Decoded:
        known = self.channels.by_topic.get(delivery.topic)
        return PLAIN if known is None else Decoded(readings.read(known, delivery.payload))

    def _zigbee(self, where: DeviceTopic, delivery: Delivery) -> Decoded:
        """A device's own topic has a JSON object; what is below it is read if it was announced."""
        if delivery.topic == zigbee.LIST:
            return self.channels.learn(delivery.topic, delivery.payload)
        known = self.channels.by_topic.get(delivery.topic)
        if known is not None or not where.channel:
            return Decoded(readings.scalars(delivery.payload, known or ()))
        return PLAIN

    def _sparkplug(self, where: DeviceTopic, delivery: Delivery) -> Decoded:
        if self.nodes is None:
            self.nodes = Nodes()
        return self.nodes.take(where, delivery.payload, redelivered=delivery.redelivered)
