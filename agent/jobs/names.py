"""DNS names that jobs may reach, resolved here: a job has no DNS server to smuggle data through.

The last known addresses are kept while DNS is away. IPv4 only, like the network of jobs.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

log = logging.getLogger(__name__)

MAX_ADDRESSES = 16  # of one name; launcher/protocol.py Reach.hosts
_AT_ONCE = 4

# Raises OSError when there is no answer.
Resolve = Callable[[str], Iterable[str]]


def system_resolve(name: str) -> list[str]:
    """As this box is configured. Blocks, for up to half a minute when no server answers (resolv.conf(5))."""
    return [str(found[4][0]) for found in socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)]


class Names:
    def __init__(self, resolve: Resolve = system_resolve) -> None:
        self._resolve = resolve
        self._known: dict[str, tuple[str, ...]] = {}
        self._asking: dict[str, asyncio.Future[None]] = {}
        self._free = asyncio.Semaphore(_AT_ONCE)

    def known(self, name: str) -> tuple[str, ...]:
        """Sorted; empty while it was never resolved."""
        return self._known.get(name, ())

    async def refresh(self, names: Iterable[str]) -> bool:
        """Ask for all of them; whether one has other addresses than before."""
        before = {name: self.known(name) for name in names}
        async with asyncio.TaskGroup() as group:
            for name in before:
                group.create_task(self._ask(name), name=f"jobs.name.{name}")
        return any(self.known(name) != addresses for name, addresses in before.items())

    async def learn(self, names: Iterable[str], seconds: float) -> None:
        """Ask for those that were never resolved, and wait at most `seconds` for it."""
        unknown = [name for name in names if name not in self._known]
        if unknown:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.refresh(unknown)

    async def _ask(self, name: str) -> None:
        """One question for a name at a time. Who leaves before the answer leaves it to the others."""
        while name not in self._asking:
            await self._free.acquire()
            if name in self._asking:
                self._free.release()
            else:
                self._begin(name)
        await asyncio.shield(self._asking[name])

    def _begin(self, name: str) -> None:
        """On a thread that nobody waits for: resolvers without a server would fill the pool and keep it from ending."""
        loop = asyncio.get_running_loop()
        answered = self._asking[name] = loop.create_future()

        def settle(found: Iterable[str] | Exception) -> None:
            self._note(name, found)
            del self._asking[name]
            self._free.release()
            answered.set_result(None)

        def work() -> None:
            found: Iterable[str] | Exception
            try:
                found = self._resolve(name)
            except (OSError, UnicodeError) as error:
                found = error
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, found)

        threading.Thread(target=work, name="resolve", daemon=True).start()

    def _note(self, name: str, found: Iterable[str] | Exception) -> None:
        if isinstance(found, Exception):
            level = logging.DEBUG if name in self._known else logging.WARNING
            log.log(level, "name not resolved", extra={"host": name, "error": str(found)})
            return
        addresses = tuple(sorted(set(found))[:MAX_ADDRESSES])
        if addresses:
            self._known[name] = addresses
