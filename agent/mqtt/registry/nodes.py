"""Sparkplug edge nodes: what their births have named, which message is missing, who is there. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.model import DeviceValue
from agent.mqtt.registry import sparkplug
from agent.mqtt.registry.decoded import MAX_NAME_BYTES, MAX_VALUES, Decoded, Malformed, fitting_unit, named, size
from agent.mqtt.registry.sparkplug import Metric, Report
from agent.mqtt.topics import DeviceTopic

# Names take some 250 bytes each: 8 MB for whoever has credentials and makes up names.
MAX_NODES = 1024
MAX_NAMES = 32_768
_REBIRTH_NANO = 60 * 1_000_000_000
_CONTROL = "Node Control/"
_BEFORE_BIRTH = "data before birth"


class _Known(NamedTuple):
    name: str
    datatype: int
    unit: str


_Names = dict[int | str, _Known]


@dataclass(slots=True)
class _Node:
    """`seq` of its last message, -1 before its birth. `born` is what each of its devices (itself too) has named."""

    seq: int = -1
    bd_seq: int | None = None
    wants_birth: bool = False
    asked_unix_nano: int = 0
    born: dict[str, _Names] = field(default_factory=dict[str, _Names])


class Nodes:
    """At most `max_nodes` of them, and `max_names` names: the node unheard for longest is forgotten, and asked anew."""

    def __init__(self, max_nodes: int = MAX_NODES, max_names: int = MAX_NAMES) -> None:
        self._max_nodes = max_nodes
        self._max_names = max_names
        self._nodes: dict[tuple[str, str], _Node] = {}
        self._names = 0

    def take(self, where: DeviceTopic, payload: bytes, *, redelivered: bool) -> Decoded:
        """What a live message of an edge node says."""
        report = sparkplug.decode(payload)
        if isinstance(report, Malformed):
            return Decoded(None, report.why)
        if where.message_type == "NDEATH":
            return self._buried(where, report)
        node = self._node(where.group, where.node)
        if where.message_type == "NBIRTH":
            self._forget(node)
            node.seq, node.bd_seq, node.wants_birth = report.seq or 0, report.bd_seq, False
            return self._born(node, where, report)
        why = _missing(node, report.seq, redelivered=redelivered)
        if where.message_type == "DDEATH":
            self._forget(node, where.device)
            return Decoded((), why, ((where.device, False),))
        if where.message_type == "DBIRTH":
            self._forget(node, where.device)
            return self._born(node, where, report, why)
        names = node.born.get(where.device)
        if names is None:
            node.wants_birth = True
            why = why or _BEFORE_BIRTH
        return Decoded(_values(report.metrics, names or {}), why)

    def hide(self, where: DeviceTopic) -> None:
        """The message that was taken last stays in the store: what it named is used on no other, which may leave."""
        node = self._nodes.get((where.group, where.node))
        if node is not None and where.device in node.born:
            self._names -= len(node.born[where.device])
            node.born[where.device] = {}

    def take_rebirths(self, now_unix_nano: int) -> tuple[tuple[str, str], ...]:
        """(group, node) of those to be asked for their births: each at most once a minute until it does."""
        asked: list[tuple[str, str]] = []
        for name, node in self._nodes.items():
            if node.wants_birth and not 0 <= now_unix_nano - node.asked_unix_nano < _REBIRTH_NANO:
                node.asked_unix_nano = now_unix_nano
                asked.append(name)
        return tuple(asked)

    def _node(self, group: str, name: str) -> _Node:
        node = self._nodes.pop((group, name), None) or _Node()
        while len(self._nodes) >= self._max_nodes:
            self._forget(self._nodes.pop(next(iter(self._nodes))))
        self._nodes[group, name] = node  # the order is that of who was heard last
        return node

    def _buried(self, where: DeviceTopic, report: Report) -> Decoded:
        """The node and all its devices are gone, if it means this session: a last will may come late (6.4.22)."""
        node = self._nodes.get((where.group, where.node))
        if node is None or node.seq < 0:
            return Decoded((), "", ((where.device, False),))
        if report.bd_seq is not None and node.bd_seq is not None and report.bd_seq != node.bd_seq:
            return Decoded((), "", ((where.device, True),))
        gone = tuple((device, False) for device in {where.device: None, **node.born})
        self._forget(node)
        node.seq = -1
        return Decoded((), "", gone)

    def _born(self, node: _Node, where: DeviceTopic, report: Report, why: str = "") -> Decoded:
        names: _Names = {}
        node.born[where.device] = names
        room = self._max_names - self._names
        for metric in report.metrics:
            if not metric.name or size(metric.name) > MAX_NAME_BYTES or _is_control(metric.name):
                continue
            if len(names) >= room:
                why = why or "more names than are kept"
                break
            key = metric.name if metric.alias is None else metric.alias
            names[key] = _Known(metric.name, metric.datatype, fitting_unit(metric.unit))
        self._names += len(names)
        return Decoded(_values(report.metrics, names), why, ((where.device, True),))

    def _forget(self, node: _Node, device: str = "") -> None:
        gone = [device] if device else list(node.born)
        for each in gone:
            self._names -= len(node.born.pop(each, ()))


def _missing(node: _Node, seq: int | None, *, redelivered: bool) -> str:
    """What is wrong with `seq`, which then becomes the node's."""
    before = node.seq
    if before < 0:
        node.wants_birth = True
        return _BEFORE_BIRTH
    if seq is None:
        return "no seq"
    if redelivered and seq == before:
        return ""
    node.seq = seq
    if seq == (before + 1) % 256:
        return ""
    node.wants_birth = True
    return f"seq {seq} after {before}"


def _values(metrics: Iterable[Metric], names: _Names) -> tuple[DeviceValue, ...]:
    found: list[DeviceValue] = []
    for metric in metrics:
        known = names.get(metric.name if metric.alias is None else metric.alias)
        if known is None and metric.name:
            known = names.get(metric.name) or _Known(metric.name, 0, "")
        if known is None or _is_control(known.name):
            continue
        datatype = metric.datatype or known.datatype
        unit = sparkplug.unit_of(datatype, metric.unit or known.unit)
        value = named(known.name, sparkplug.typed(datatype, metric.raw), unit, metric.time_milli)
        if value is not None:
            found.append(value)
            if len(found) == MAX_VALUES:
                break
    return tuple(found)


def _is_control(name: str) -> bool:
    """Part of the protocol, no reading."""
    return name == sparkplug.BD_SEQ or name.startswith(_CONTROL)
