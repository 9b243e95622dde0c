"""What a service of the agent is, and how it waits."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol


class Service(Protocol):
    """Runs until `stop` is set, then returns after an orderly end.

    It calls `beat` at least every ten seconds, also while it waits or backs off: the watchdog speaks to systemd
    only while every service's last beat is fresh. Faults of neighbours are its own loop with backoff; an exception
    that leaves `run` is a bug and ends the process.
    """

    @property
    def name(self) -> str: ...

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None: ...


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Returns when `stop` is set, at the latest after `seconds`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
