"""Devices that were heard of: when, how much, and whether they say they are there."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from agent.model import DeviceView, Event
from agent.mqtt.topics import DeviceTopic, Kind

MAX_DEVICES = 10_000


@dataclass(slots=True)
class _Device:
    online: bool
    first_seen_unix_nano: int
    last_seen_unix_nano: int
    messages: int
    payload_bytes: int
    last_topic: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What has to be written so that the file says what memory says."""

    changed: tuple[DeviceView, ...]
    gone: tuple[str, ...]


class Registry:
    """At most `limit` devices, in the order they were last seen: one more, and the longest unseen is forgotten.

    A device goes online with any message of its own and offline only by its word: `devices/<id>/status` with the
    payload `offline`, which is also what its last will should be. Silence alone says nothing: a door may be shut for
    a week.
    """

    def __init__(self, limit: int = MAX_DEVICES) -> None:
        self._limit = limit
        self._devices: OrderedDict[str, _Device] = OrderedDict()
        self._changed: set[str] = set()

    def restore(self, views: Iterable[DeviceView]) -> None:
        """Begin with what an earlier run knew."""
        for view in sorted(views, key=lambda v: v.last_seen_unix_nano):
            self._devices[view.id] = _Device(
                view.online,
                view.first_seen_unix_nano,
                view.last_seen_unix_nano,
                view.messages,
                view.payload_bytes,
                view.last_topic,
            )
        self._shrink()

    def observe(
        self, where: DeviceTopic, topic: str, payload: bytes, *, retained: bool, now_unix_nano: int
    ) -> Event | None:
        """Take note of a message; the event says that the device came or went.

        What the broker had retained tells of the past: only a status in it counts, and it is no sighting.
        """
        if where.kind is Kind.COMMAND:
            return None
        device = self._devices.get(where.device)
        if device is None:
            device = self._devices[where.device] = _Device(False, now_unix_nano, now_unix_nano, 0, 0, "")
            self._shrink()
        word = payload.strip().lower() if where.kind is Kind.STATUS else b""
        device.messages += 1
        device.payload_bytes += len(payload)
        device.last_topic = topic
        if not retained and word != b"offline":
            device.last_seen_unix_nano = now_unix_nano
            self._devices.move_to_end(where.device)
        self._changed.add(where.device)
        online = device.online if retained else True
        if word in {b"online", b"offline"}:
            online = word == b"online"
        if online == device.online:
            return None
        device.online = online
        return Event(kind=f"device.{'online' if online else 'offline'}", attributes={"device": where.device})

    def get(self, device: str) -> DeviceView | None:
        known = self._devices.get(device)
        return None if known is None else _view(device, known)

    def views(self) -> tuple[DeviceView, ...]:
        return tuple(_view(name, self._devices[name]) for name in sorted(self._devices))

    def take_changes(self) -> Changes:
        """What changed since the last call."""
        names, self._changed = self._changed, set()
        return Changes(
            tuple(_view(name, self._devices[name]) for name in names if name in self._devices),
            tuple(name for name in names if name not in self._devices),
        )

    def put_back(self, changes: Changes) -> None:
        """They could not be written: they stay due."""
        self._changed.update(view.id for view in changes.changed)
        self._changed.update(changes.gone)

    def _shrink(self) -> None:
        while len(self._devices) > self._limit:
            name, _ = self._devices.popitem(last=False)
            self._changed.add(name)


def _view(name: str, device: _Device) -> DeviceView:
    return DeviceView(
        id=name,
        online=device.online,
        first_seen_unix_nano=device.first_seen_unix_nano,
        last_seen_unix_nano=device.last_seen_unix_nano,
        messages=device.messages,
        payload_bytes=device.payload_bytes,
        last_topic=device.last_topic,
    )
