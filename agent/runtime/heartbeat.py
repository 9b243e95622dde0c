"""When each service last said that it is alive."""

from collections.abc import Callable, Iterable

from agent.clock import Clock


class Heartbeats:
    """Starts with a fresh beat for every name: a service has the whole bound for its first."""

    def __init__(self, clock: Clock, names: Iterable[str]) -> None:
        self._clock = clock
        self._last = dict.fromkeys(names, clock.seconds())

    def beater(self, name: str) -> Callable[[], None]:
        """What service `name` calls at least every ten seconds."""

        def beat() -> None:
            self._last[name] = self._clock.seconds()

        return beat

    def end(self, name: str) -> None:
        """The service has returned; nobody waits for its beat any more."""
        self._last.pop(name, None)

    def stale(self, bound_seconds: float) -> dict[str, float]:
        """Seconds since the last beat, of the services that are silent for longer than the bound."""
        now = self._clock.seconds()
        return {name: now - last for name, last in self._last.items() if now - last > bound_seconds}
