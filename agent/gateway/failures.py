"""Who guesses passwords has to wait: failed attempts of each address. Pure."""

from collections import OrderedDict

_WINDOW_SECONDS = 60.0
_MAX_ADDRESSES = 1024


class Failures:
    """Refuses an address after `limit` failures within a minute, until the minute is over."""

    def __init__(self, limit: int = 10) -> None:
        self._limit = limit
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait_seconds(self, address: str, now: float) -> int:
        """0 when it may try."""
        since, count = self._counts.get(address, (now, 0))
        left = since + _WINDOW_SECONDS - now
        return max(1, round(left)) if count >= self._limit and left > 0 else 0

    def failed(self, address: str, now: float) -> None:
        since, count = self._counts.get(address, (now, 0))
        if now - since >= _WINDOW_SECONDS:
            since, count = now, 0
        self._counts[address] = (since, count + 1)
        self._counts.move_to_end(address)
        if len(self._counts) > _MAX_ADDRESSES:
            self._counts.popitem(last=False)
