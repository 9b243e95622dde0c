"""Speaks to systemd's watchdog only while every service is alive, and names the one that isn't."""

import asyncio
import logging
from collections.abc import Mapping

from agent.runtime.heartbeat import Heartbeats
from agent.runtime.notify import Notifier

_log = logging.getLogger(__name__)

# A service beats at least every ten seconds (service.py): three missed beats are no hiccup.
STALE_SECONDS = 30.0
_UNWATCHED_SECONDS = 10.0


def interval_seconds(environ: Mapping[str, str], pid: int) -> float:
    """Half of what systemd allows between two pings, as sd_watchdog_enabled(3) advises; 10 s where it doesn't watch."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0 or environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return _UNWATCHED_SECONDS
    return int(microseconds) / 2e6


class Watchdog:
    def __init__(self, notifier: Notifier, heartbeats: Heartbeats) -> None:
        self._notifier = notifier
        self._heartbeats = heartbeats
        self._silent: frozenset[str] = frozenset()

    async def run(self, interval: float) -> None:
        """Until cancelled. A blocked event loop doesn't get here, which is the point."""
        while True:
            self.look()
            await asyncio.sleep(interval)

    def look(self) -> None:
        """Ping, or say who keeps us from it; each change is logged once."""
        stale = self._heartbeats.stale(STALE_SECONDS)
        if not stale:
            self._notifier.alive()
        silent = frozenset(stale)
        if silent == self._silent:
            return
        for name in sorted(silent - self._silent):
            _log.error("service gives no sign of life", extra={"service": name, "seconds": round(stale[name])})
        for name in sorted(self._silent - silent):
            _log.info("service is alive again", extra={"service": name})
        self._notifier.status(f"no sign of life from: {', '.join(sorted(silent))}" if silent else "running")
        self._silent = silent
