"""How often something is said of one device: once a minute. Pure."""

_MINUTE_NANO = 60 * 1_000_000_000
_MAX_DEVICES = 1000


class Complaints:
    """For 1000 devices in a minute; of more than these nothing is said."""

    def __init__(self) -> None:
        self._last_unix_nano: dict[str, int] = {}
        self._full_until_unix_nano = 0

    def allow(self, device: str, now_unix_nano: int) -> bool:
        last = self._last_unix_nano
        if 0 <= now_unix_nano - last.get(device, now_unix_nano - _MINUTE_NANO) < _MINUTE_NANO:
            return False
        if len(last) >= _MAX_DEVICES and device not in last:
            if 0 < self._full_until_unix_nano - now_unix_nano <= _MINUTE_NANO:
                return False
            for name in [name for name, at in last.items() if not 0 <= now_unix_nano - at < _MINUTE_NANO]:
                del last[name]
            if len(last) >= _MAX_DEVICES:
                self._full_until_unix_nano = min(last.values()) + _MINUTE_NANO
                return False
        last[device] = now_unix_nano
        return True
