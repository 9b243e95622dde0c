"""Which devices say more than a device has to say: theirs gives way first when the spool is full. Pure.

The bound is a bucket that leaks: what a device said in the last minutes, as rates.py fades it. 200 messages or 220 KB a
second for ever, or five minutes' worth of that at once.
"""

from collections.abc import Mapping

from agent.model import Event
from agent.mqtt.registry.device import Device
from agent.mqtt.registry.rates import FADE_SECONDS, fade

MOST_MESSAGES, MOST_BYTES = 60_000.0, float(64 << 20)
_ENDS_BELOW = 0.5


class Loud:
    """`names` are loud now."""

    def __init__(self) -> None:
        self.names: frozenset[str] = frozenset()

    def look(self, devices: Mapping[str, Device], now_unix_nano: int) -> tuple[Event, ...]:
        """Who has become loud, and who is no more. Call it every few seconds."""
        begun = [
            name
            for name, device in devices.items()
            if (device.messages_faded > MOST_MESSAGES or device.bytes_faded > MOST_BYTES)
            and name not in self.names
            and _is_loud_still(device, now_unix_nano)  # what was loud and has said nothing since stays as it was
        ]
        ended = [name for name in self.names if not _is_loud_still(devices.get(name), now_unix_nano)]
        if not begun and not ended:
            return ()
        self.names = self.names.union(begun).difference(ended)
        return (
            *(_event(name, devices[name]) for name in begun if name in self.names),
            *(Event("device.quiet", attributes={"device": name}) for name in ended),
        )


def _is_loud_still(device: Device | None, now_unix_nano: int) -> bool:
    if device is None:
        return False
    left = fade(now_unix_nano - device.last_seen_unix_nano) / _ENDS_BELOW
    return device.messages_faded * left > MOST_MESSAGES or device.bytes_faded * left > MOST_BYTES


def _event(name: str, device: Device) -> Event:
    return Event(
        "device.loud",
        message=f"{name} says more than a device has to say: when the spool is full, what it says gives way first",
        attributes={
            "device": name,
            "messages": f"{device.messages_faded:.0f}",
            "payload_bytes": f"{device.bytes_faded:.0f}",
            "within_seconds": f"{FADE_SECONDS:.0f}",
        },
    )
