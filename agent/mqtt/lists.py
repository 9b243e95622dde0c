"""Keeps the retained lists of devices, one below each job's tenant, as grants and accounts have it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from agent.errors import AwayError
from agent.mqtt import tenants
from agent.mqtt.wire.delivery import Delivery

FILTER = f"{tenants.TENANTS}/+/jobs/+/devices"


class Lists:
    """`wanted` is by topic, None while runs aren't known: then the lists that are there are left alone.

    What the broker has is learned from the broker: `receive` must be subscribed to FILTER, and `connected` be told of
    each new connection. So the list of a job that ended while no agent was there is taken away, too.
    """

    def __init__(
        self, publish: Callable[[str, bytes], Awaitable[None]], wanted: Callable[[], Mapping[str, bytes] | None]
    ) -> None:
        """`publish` retains, and raises AwayError."""
        self._publish, self._wanted = publish, wanted
        self._there: dict[str, bytes] = {}
        self._wake = asyncio.Event()

    def changed(self) -> None:
        self._wake.set()

    async def connected(self) -> None:
        """It may be another broker: what there is to be is said again, what it has beyond that is told to `receive`."""
        wanted = self._wanted() or {}
        self._there = {topic: payload for topic, payload in self._there.items() if topic not in wanted}
        self._wake.set()

    def receive(self, delivery: Delivery) -> None:
        if delivery.payload:
            self._there[delivery.topic] = delivery.payload
        else:
            self._there.pop(delivery.topic, None)
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            wanted = self._wanted()
            for topic, payload in tenants.to_publish(self._there, wanted).items() if wanted is not None else ():
                try:
                    await self._publish(topic, payload)
                except AwayError:
                    break  # `connected` comes
                if payload:
                    self._there[topic] = payload
                else:
                    self._there.pop(topic, None)
