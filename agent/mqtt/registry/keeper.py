"""The registry over time: restored, saved, asked who is silent, and edge nodes asked for their births."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from agent.clock import Clock
from agent.errors import AwayError, StorageError
from agent.model import Event, Sink
from agent.mqtt.registry import sparkplug
from agent.mqtt.registry.registry import Registry
from agent.mqtt.registry.registry_file import RegistryFile
from agent.runtime.service import pause

log = logging.getLogger(__name__)

_TURN_SECONDS = 5.0


class Publish(Protocol):
    """Control.publish; raises AwayError."""

    def __call__(self, topic: str, payload: bytes, *, qos: int) -> Awaitable[None]: ...


class Keeper:
    """`listening`: the broker is there and the subscription stands.

    `settled`: all that the registry was told is durable in the spool. Only then it is saved: else an online event could
    be lost that the file says was sent. `tell_loud` hears each time who says too much.
    """

    def __init__(
        self,
        registry: Registry,
        file: RegistryFile,
        record: Sink,
        clock: Clock,
        publish: Publish,
        listening: Callable[[], bool],
        settled: Callable[[], bool],
        tell_loud: Callable[[frozenset[str]], None] = lambda _: None,
    ) -> None:
        self._registry = registry
        self._file = file
        self._record = record
        self._clock = clock
        self._publish = publish
        self._is_listening = listening
        self._settled = settled
        self._tell_loud = tell_loud
        self._listens = False
        self._unrecorded: list[Event] = []

    async def restore(self) -> None:
        """Before the first message."""
        try:
            self._registry.restore(*await asyncio.to_thread(self._file.load))
        except StorageError as why:
            log.warning("device registry can't be read, begins empty", extra={"reason": why})

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.turn()
            await pause(stop, _TURN_SECONDS)

    async def close(self) -> None:
        """Save what is left."""
        await self._save()
        await asyncio.to_thread(self._file.close)

    async def turn(self) -> None:
        now = self._clock.wall_nano()
        if self._is_listening() != self._listens:
            self._listens = not self._listens
            if self._listens:
                self._registry.listen(now)
            else:
                self._registry.deafen()
        self._unrecorded.extend(self._registry.check(now))
        self._tell_loud(self._registry.loud)
        if self._unrecorded:
            await self._tell()
        for group, node in self._registry.take_rebirths(now):
            await self._ask_for_births(group, node)
        await self._save()

    async def _tell(self) -> None:
        """What the disk has no room for is told next time."""
        try:
            await self._record(self._unrecorded)
        except StorageError as why:
            log.warning("device events can't be stored yet", extra={"reason": why, "events": len(self._unrecorded)})
        else:
            self._unrecorded = []

    async def _ask_for_births(self, group: str, node: str) -> None:
        log.info("Sparkplug edge node is asked for its births", extra={"group": group, "node": node})
        try:
            await self._publish(
                sparkplug.rebirth_topic(group, node), sparkplug.rebirth_command(self._clock.wall_nano()), qos=0
            )
        except AwayError as why:
            log.info("Sparkplug edge node can't be asked now", extra={"node": node, "reason": why})

    async def _save(self) -> None:
        while self._settled() and (changes := self._registry.take_changes()):
            try:
                await asyncio.to_thread(self._file.save, changes)
            except StorageError as why:
                self._registry.put_back(changes)
                log.warning("device registry can't be saved", extra={"reason": why})
                return
