"""What has been announced, by the topic it is about: bounded, and remembered over restarts. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from agent.mqtt.registry import discovery, zigbee
from agent.mqtt.registry.decoded import MAX_VALUES, PLAIN, Decoded, Malformed
from agent.mqtt.registry.readings import Reading
from agent.mqtt.topics import ROOT, ZIGBEE_ROOT, Kind, parse

# A reading takes some 400 bytes, so 3 MB; the payloads that announced them are kept on disk only.
MAX_READINGS = 8192
MAX_CONFIGS = 4096


class Announced(NamedTuple):
    """A config as it came, empty when it was withdrawn: what has to be in the file."""

    topic: str
    payload: bytes


class Channels:
    """Configs that are behind `max_readings` or `max_configs` are not learnt: what is known stays known."""

    def __init__(self, max_readings: int = MAX_READINGS, max_configs: int = MAX_CONFIGS) -> None:
        self._max_readings = max_readings
        self._max_configs = max_configs
        self._configs: dict[str, tuple[Reading, ...]] = {}
        self._count = 0
        self._due: dict[str, bytes] = {}
        self.by_topic: dict[str, tuple[Reading, ...]] = {}
        """What is read of the messages of a topic. An attribute: it is asked for each message."""

    def restore(self, announced: Iterable[Announced]) -> None:
        for topic, payload in announced:
            self.learn(topic, payload)
        self._due.clear()

    def learn(self, topic: str, payload: bytes) -> Decoded:
        """Of a discovery topic, or zigbee2mqtt's list of devices: what it announces holds from the next message on."""
        found = zigbee.parse(payload) if topic == zigbee.LIST else discovery.parse(topic, payload)
        if isinstance(found, Malformed):
            return Decoded(None, found.why)
        readings = _fitting(topic, found)
        before = self._configs.get(topic, ())
        if readings == before:
            return PLAIN
        if not before and readings and len(self._configs) >= self._max_configs:
            return Decoded((), "more discovery configs than are kept")
        if self._count - len(before) + len(readings) > self._max_readings:
            return Decoded((), "more discovered readings than are kept")
        self._put(topic, before, readings)
        self._due[topic] = payload if readings else b""
        return PLAIN

    def forget(self, topic: str) -> None:
        """What the config said must not be used: a rule keeps it in the store."""
        before = self._configs.get(topic)
        if before:
            self._put(topic, before, ())
            self._due[topic] = b""

    def take_changes(self) -> tuple[Announced, ...]:
        due, self._due = self._due, {}
        return tuple(Announced(topic, payload) for topic, payload in due.items())

    def put_back(self, changes: Iterable[Announced]) -> None:
        self._due = {**dict(changes), **self._due}

    def _put(self, topic: str, before: tuple[Reading, ...], readings: tuple[Reading, ...]) -> None:
        self._count += len(readings) - len(before)
        if readings:
            self._configs[topic] = readings
        else:
            self._configs.pop(topic, None)
        for reading in before:  # once each: another config may say the same
            kept = list(self.by_topic[reading.topic])
            kept.remove(reading)
            if kept:
                self.by_topic[reading.topic] = tuple(kept)
            else:
                del self.by_topic[reading.topic]
        for reading in readings:
            self.by_topic[reading.topic] = (*self.by_topic.get(reading.topic, ()), reading)


def _fitting(config: str, found: Iterable[Reading]) -> tuple[Reading, ...]:
    """Those that `config` may announce, at most as many of a topic as one message may bring values."""
    of_topic: dict[str, int] = {}
    fitting: list[Reading] = []
    for each in found:
        if of_topic.get(each.topic, 0) < MAX_VALUES and _is_its_own(config, each.topic):
            of_topic[each.topic] = of_topic.get(each.topic, 0) + 1
            fitting.append(each)
    return tuple(fitting)


def _is_its_own(config: str, topic: str) -> bool:
    """Whether who publishes `config` may say what messages of `topic` mean.

    A device says so of its own topics; the Zigbee bridge of those of its devices, whose discovery topics have other
    names. Else one device could rename the readings of another.
    """
    about, of = parse(topic), parse(config)
    if about is None or of is None or about.kind is Kind.COMMAND:
        return False
    root = topic.partition("/")[0]
    return root == ZIGBEE_ROOT or (root == ROOT and about.device == of.device)
