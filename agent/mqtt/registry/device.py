"""One device as the registry has it: what counts up, what was said last, and how it is shown."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from agent.model import DeviceValue, DeviceView
from agent.mqtt.access.accounts import Account
from agent.mqtt.registry import plain
from agent.mqtt.registry.decoded import MAX_VALUES
from agent.mqtt.registry.rates import fade, per_minute
from agent.mqtt.wire.delivery import Delivery
from agent.orders import DeviceQuery


class Kept(NamedTuple):
    """A device as the file keeps it. The sums are those of rates.py, at `last_seen_unix_nano`."""

    id: str
    online: bool
    first_seen_unix_nano: int
    last_seen_unix_nano: int
    messages: int
    payload_bytes: int
    last_topic: str
    messages_faded: float = 0.0
    bytes_faded: float = 0.0
    silent: bool = False


@dataclass(slots=True)
class Device:
    """`first_seen_unix_nano` 0: registered and never heard of. `last_topic`, `last_payload` and `values` may leave."""

    online: bool = False
    silent: bool = False
    first_seen_unix_nano: int = 0
    last_seen_unix_nano: int = 0
    messages: int = 0
    payload_bytes: int = 0
    messages_faded: float = 0.0
    bytes_faded: float = 0.0
    last_topic: str = ""
    last_payload: bytes = b""
    values: dict[str, DeviceValue] | None = None


def kept(name: str, device: Device) -> Kept:
    return Kept(
        name,
        device.online,
        device.first_seen_unix_nano,
        device.last_seen_unix_nano,
        device.messages,
        device.payload_bytes,
        device.last_topic,
        device.messages_faded,
        device.bytes_faded,
        device.silent,
    )


def restored(row: Kept) -> Device:
    return Device(
        row.online,
        row.silent,
        row.first_seen_unix_nano,
        row.last_seen_unix_nano,
        row.messages,
        row.payload_bytes,
        row.messages_faded,
        row.bytes_faded,
        row.last_topic,
    )


def remember(device: Device, values: Iterable[DeviceValue]) -> None:
    """The newest of each name by the device's own time, where it says one: history that comes late isn't the last.

    At most 64 names: of more, the one that was new longest ago goes.
    """
    if device.values is None:
        device.values = {}
    for value in values:
        before = device.values.get(value.name)
        if before is not None and 0 < value.time_unix_nano < before.time_unix_nano:
            continue
        if before is None and len(device.values) >= MAX_VALUES:
            del device.values[next(iter(device.values))]
        device.values[value.name] = value


def view(name: str, device: Device | None, account: Account | None, now_unix_nano: int) -> DeviceView:
    """Without values. The rates are those of `now_unix_nano`; 0: as they were when it was last seen."""
    about = device or _UNHEARD
    of = account or _STRANGER
    messages = bytes_ = 0.0
    if about.messages_faded:
        now = max(now_unix_nano, about.last_seen_unix_nano)
        left = fade(now - about.last_seen_unix_nano)
        known = now - about.first_seen_unix_nano
        messages = per_minute(about.messages_faded * left, known)
        bytes_ = per_minute(about.bytes_faded * left, known)
    return DeviceView(
        name,
        about.online,
        about.first_seen_unix_nano,
        about.last_seen_unix_nano,
        about.messages,
        about.payload_bytes,
        about.last_topic,
        of.zone,
        of.device_class,
        of.credential,
        of.certificate_not_after_unix_nano,
        messages,
        bytes_,
        of.silent_after_seconds,
        about.silent,
    )


def last_values(device: Device | None) -> tuple[DeviceValue, ...]:
    """By name; of a device that no decoder is for, what its last payload says."""
    if device is None:
        return ()
    if device.values:
        return tuple(device.values[name] for name in sorted(device.values))
    return plain.values(device.last_topic, device.last_payload) if device.last_payload else ()


def count_past(device: Device, delivery: Delivery, shown: bool) -> None:
    """What tells of the past, or of the end: no sighting."""
    device.messages += 1
    device.payload_bytes += len(delivery.payload)
    if shown:
        device.last_topic = delivery.topic
        device.last_payload = delivery.payload if len(delivery.payload) <= plain.MAX_KEPT_BYTES else b""


def fits(query: DeviceQuery, device: Device | None, account: Account | None) -> bool:
    if query.silent and (device is None or not device.silent):
        return False
    if query.zone and (account is None or account.zone != query.zone):
        return False
    return not query.device_class or (account is not None and account.device_class == query.device_class)


_UNHEARD = Device()
_STRANGER = Account("")
