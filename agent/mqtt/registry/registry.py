"""Devices that were heard of or are registered: when, how much, what they said last, who is there, who is silent."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import exp

from agent.model import Credential, DeviceView, Event
from agent.mqtt.access.accounts import Account
from agent.mqtt.registry.channels import Announced
from agent.mqtt.registry.complaints import Complaints
from agent.mqtt.registry.decoded import PLAIN, Decoded
from agent.mqtt.registry.decoders import Decoders
from agent.mqtt.registry.device import Device, Kept, count_past, fits, kept, last_values, remember, restored, view
from agent.mqtt.registry.loud import Loud
from agent.mqtt.registry.names import ANOTHERS, is_anothers
from agent.mqtt.registry.plain import MAX_KEPT_BYTES
from agent.mqtt.registry.presence import said
from agent.mqtt.registry.rates import FADE_PER_NANO
from agent.mqtt.registry.silence import Watch
from agent.mqtt.topics import DeviceTopic, Kind
from agent.mqtt.wire.delivery import Delivery
from agent.orders import DevicePage, DeviceQuery

MAX_DEVICES = 20_000
# However many are registered, so many others have room: a bridge's devices are none of ours.
_LEAST_STRANGERS = 256
# Writing these takes a few ms of the loop; what is left goes with the next save.
_MOST_CHANGES = 1024
_NANO = 1_000_000_000
# The checks come every few seconds. A longer pause: this machine stood still, or its clock was set.
_PAUSE_NANO = 60 * _NANO
_CHANNEL = Kind.CHANNEL
_NO_EVENTS: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What has to be written so that the file says what memory says."""

    changed: tuple[Kept, ...]
    gone: tuple[str, ...] = ()
    announced: tuple[Announced, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.gone or self.announced)


class Registry:
    """Every registered device, and others up to `limit` together: one more, and those unseen for longest go.

    A device goes online with any message of its own and offline only by its word: a status, a last will, a Sparkplug
    death. Silence alone says nothing, unless its account says how long it may be silent, and only while we listen.
    What the broker had retained tells of the past: only a status in it counts, and it is no sighting.

    What a device said is kept only from messages that may be shown to central (docs/decisions/0076-registry.md).
    """

    def __init__(self, limit: int = MAX_DEVICES) -> None:
        self._limit = limit
        self._devices: dict[str, Device] = {}
        self._accounts: dict[str, Account] = {}
        self._strangers: dict[str, None] = {}
        self._names: list[str] | None = None
        self._changed: dict[str, None] = {}
        self._watch = Watch()
        self._listening_unix_nano = 0
        self._checked_unix_nano = 0
        self._complaints = Complaints()
        self._decoders = Decoders()
        self._announced = self._decoders.channels.by_topic
        self._left: list[Event] = []
        self._loud = Loud()

    def restore(self, rows: Iterable[Kept], announced: Iterable[Announced] = ()) -> None:
        """Begin with what an earlier run knew."""
        for row in rows:
            account = self._accounts.get(row.id)
            self._devices[row.id if account is None else account.id] = restored(row)
            if account is None:
                self._strangers[row.id] = None
        self._decoders.restore(announced)
        self._names = None

    def follow(self, accounts: Iterable[Account]) -> None:
        """These are the accounts now, all of them. Call it at the start and after each change."""
        before, self._accounts = self._accounts, {account.id: account for account in accounts}
        for name, account in self._accounts.items():
            if before.get(name) is not account:
                self._strangers.pop(name, None)
                self._guard(name)
                if self._is_revoked(name):
                    self._left.extend(self._set_online(name, online=False))
        for name in before.keys() - self._accounts.keys():
            self._guard(name)
            if name in self._devices:
                self._strangers[name] = None
        self._names = None
        self._shrink()

    def decode(self, where: DeviceTopic, delivery: Delivery) -> Decoded:
        """Before `observe`, once for each message: Sparkplug counts them. PLAIN for what no decoder is for."""
        if where.kind is _CHANNEL and delivery.topic not in self._announced:
            return PLAIN
        if is_anothers(self._accounts.get(where.device), where, delivery.topic):
            return ANOTHERS
        return self._decoders.decode(where, delivery)

    def observe(
        self, where: DeviceTopic, delivery: Delivery, now_unix_nano: int, shown: bool, decoded: Decoded = PLAIN
    ) -> tuple[Event, ...]:
        """Take note of a message. `shown`: central may be told its topic and what it says."""
        device = self._devices.get(where.device)
        if (
            device is None
            or decoded is not PLAIN
            or where.kind is not _CHANNEL
            or delivery.retained
            or device.silent
            or not device.online
        ):
            return self._observe_rare(where, delivery, now_unix_nano, shown, decoded)
        _count(device, delivery, now_unix_nano, shown)
        self._changed[where.device] = None
        return _NO_EVENTS

    def _observe_rare(
        self, where: DeviceTopic, delivery: Delivery, now_unix_nano: int, shown: bool, decoded: Decoded
    ) -> tuple[Event, ...]:
        """All but a live message, on a channel, of a device that is online and was not silent."""
        events: list[Event] = []
        if decoded.why and self._complaints.allow(where.device, now_unix_nano):
            events.append(Event("device.malformed", message=decoded.why, attributes={"device": where.device}))
        if not shown:
            self._decoders.hide(where, delivery.topic)
        if where.kind is Kind.COMMAND or where.kind is Kind.DISCOVERY or decoded is ANOTHERS:
            return tuple(events)  # not its own word; and who announces devices may be none
        if not delivery.payload and (where.device not in self._devices or self._is_revoked(where.device)):
            return tuple(events)  # what it had retained is taken away
        device = self._devices.get(where.device) or self._begin(where.device, now_unix_nano)
        present = said(where, delivery.payload, decoded)
        own = present.pop(where.device, None)
        if delivery.retained or own is False:
            count_past(device, delivery, shown)
        else:
            _count(device, delivery, now_unix_nano, shown)
            events.extend(self._heard(where.device, device))
        if shown and decoded.values:
            remember(device, decoded.values)
        if own is None and not delivery.retained:
            own = True
        events.extend(self._set_online(where.device, own))
        for name, online in present.items():
            events.extend(self._set_online(name, online))
        self._changed[where.device] = None
        return tuple(events)

    def _begin(self, name: str, now_unix_nano: int) -> Device:
        account = self._accounts.get(name)
        device = Device(first_seen_unix_nano=now_unix_nano, last_seen_unix_nano=now_unix_nano)
        self._devices[name if account is None else account.id] = device  # one name in memory, not two
        if account is None:
            self._strangers[name] = None
            self._names = None
            self._shrink()
        return device

    def _heard(self, name: str, device: Device) -> Iterator[Event]:
        if device.silent:
            device.silent = False
            self._guard(name)
            yield Event("device.heard", attributes={"device": name})

    def _set_online(self, name: str, online: bool | None) -> Iterator[Event]:
        device = self._devices.get(name)
        if device is not None and online is not None and online is not device.online:
            device.online = online
            self._changed[name] = None
            yield Event(f"device.{'online' if online else 'offline'}", attributes={"device": name})

    # --- silence -------------------------------------------------------------------------------------

    def listen(self, now_unix_nano: int) -> None:
        """The broker is there and the subscription stands: from here on, silence is a device's."""
        self._listening_unix_nano = self._checked_unix_nano = now_unix_nano

    @property
    def loud(self) -> frozenset[str]:
        """Devices that say too much, as of the last check."""
        return self._loud.names

    def deafen(self) -> None:
        """The broker is away: nobody can be heard."""
        self._listening_unix_nano = 0

    def check(self, now_unix_nano: int) -> tuple[Event, ...]:
        """Who was revoked, too loud or silent for too long since the last check. Call it every few seconds."""
        passed, self._checked_unix_nano = now_unix_nano - self._checked_unix_nano, now_unix_nano
        events, self._left = [*self._left, *self._loud.look(self._devices, now_unix_nano)], []
        if not self._listening_unix_nano:
            return tuple(events)
        if not 0 <= passed <= _PAUSE_NANO:
            self._listening_unix_nano = now_unix_nano
        for name in self._watch.take_due(now_unix_nano):
            due = self._due(name)
            if due > now_unix_nano:
                self._watch.put(name, due)
            elif due:
                events.append(self._silence(name))
        return tuple(events)

    def _due(self, name: str) -> int:
        """When it will have been silent for too long; 0: never, or it is already."""
        account, device = self._accounts.get(name), self._devices.get(name)
        if account is None or not account.silent_after_seconds or (device is not None and device.silent):
            return 0
        last = account.created_unix_nano if device is None else device.last_seen_unix_nano
        return max(last, self._listening_unix_nano) + account.silent_after_seconds * _NANO

    def _silence(self, name: str) -> Event:
        device = self._devices.get(name)
        if device is None:
            device = self._devices[name] = Device()
        device.silent = True
        self._changed[name] = None
        after = self._accounts[name].silent_after_seconds
        return Event(
            "device.silent",
            message=f"{name} has said nothing for {after} s",
            attributes={"device": name, "silent_after_seconds": str(after)},
        )

    def _is_revoked(self, name: str) -> bool:
        account = self._accounts.get(name)
        return account is not None and account.credential is Credential.REVOKED

    def _guard(self, name: str) -> None:
        """Look at it when it could be silent for too long; without an account that bounds it, it can't be."""
        device, account = self._devices.get(name), self._accounts.get(name)
        bounded = account is not None and account.silent_after_seconds
        if device is not None and device.silent and not bounded:
            device.silent = False
            self._changed[name] = None
        due = self._due(name)
        if due:
            self._watch.put(name, due)
        else:
            self._watch.drop(name)

    # --- who asks ------------------------------------------------------------------------------------

    def get(self, device: str) -> DeviceView | None:
        """Without values and with the rates of when it was last seen; None when it is neither known nor registered."""
        known, account = self._devices.get(device), self._accounts.get(device)
        return None if known is None and account is None else view(device, known, account, 0)

    def page(self, query: DeviceQuery, now_unix_nano: int) -> DevicePage:
        """By id. Values only when one device is asked for."""
        found: list[DeviceView] = []
        more = False
        for name in self._asked(query):
            device, account = self._devices.get(name), self._accounts.get(name)
            if not fits(query, device, account):
                continue
            if len(found) == query.limit:
                more = True
                break
            shown = view(name, device, account, now_unix_nano)
            found.append(replace(shown, values=last_values(device)) if query.device else shown)
        online = sum(device.online for device in self._devices.values())
        return DevicePage(tuple(found), more, len(self._sorted()), online)

    def _asked(self, query: DeviceQuery) -> Iterable[str]:
        if query.device:
            known = query.device in self._devices or query.device in self._accounts
            return (query.device,) if known and query.device > query.after else ()
        names = self._sorted()
        return (names[at] for at in range(bisect_right(names, query.after), len(names)))

    def _sorted(self) -> list[str]:
        if self._names is None:
            self._names = sorted({*self._devices, *self._accounts})
        return self._names

    def take_rebirths(self, now_unix_nano: int) -> tuple[tuple[str, str], ...]:
        """(group, node) of Sparkplug nodes to be asked for their births: sparkplug.rebirth_topic, rebirth_command."""
        return self._decoders.take_rebirths(now_unix_nano)

    # --- the file ------------------------------------------------------------------------------------

    def take_changes(self, most: int = _MOST_CHANGES) -> Changes:
        """What changed since the last call, at most so many devices: call it again until nothing is left."""
        names = list(self._changed)[:most]
        for name in names:
            del self._changed[name]
        devices = self._devices
        return Changes(
            tuple(kept(name, devices[name]) for name in names if name in devices),
            tuple(name for name in names if name not in devices),
            self._decoders.channels.take_changes(),
        )

    def put_back(self, changes: Changes) -> None:
        """They could not be written: they stay due."""
        self._changed.update(dict.fromkeys(row.id for row in changes.changed))
        self._changed.update(dict.fromkeys(changes.gone))
        self._decoders.channels.put_back(changes.announced)

    def forget(self, device: str) -> None:
        """As if it had never been heard of."""
        if self._devices.pop(device, None) is not None:
            self._strangers.pop(device, None)
            self._changed[device] = None
            self._names = None

    def _shrink(self) -> None:
        """More than one at once, or a flood of names would have us look for the oldest at each message."""
        room = max(self._limit - len(self._accounts), min(self._limit, _LEAST_STRANGERS))
        if len(self._strangers) <= room:
            return
        devices = self._devices
        oldest = sorted(self._strangers, key=lambda name: devices[name].last_seen_unix_nano)
        for name in oldest[: len(oldest) - room + room // 16]:
            self.forget(name)


def _count(device: Device, delivery: Delivery, now_unix_nano: int, shown: bool) -> None:
    """A sighting. Written out, because it is done for each message: 0.6 us."""
    size = len(delivery.payload)
    elapsed = now_unix_nano - device.last_seen_unix_nano
    left = exp(elapsed * FADE_PER_NANO) if elapsed > 0 else 1.0
    device.messages_faded = device.messages_faded * left + 1.0
    device.bytes_faded = device.bytes_faded * left + size
    device.messages += 1
    device.payload_bytes += size
    device.last_seen_unix_nano = now_unix_nano
    if not device.first_seen_unix_nano:
        device.first_seen_unix_nano = now_unix_nano
    if shown:
        device.last_topic = delivery.topic
        device.last_payload = delivery.payload if size <= MAX_KEPT_BYTES else b""
