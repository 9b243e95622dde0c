"""Retained messages whose owner has gone, or that are too many of one owner, are taken away from the broker.

The broker says only how many there are; whose they are is seen by subscribing to them, on a connection that is made for
it. To take one away is to publish an empty one: whoever is subscribed sees that, central too.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from agent.errors import AwayError, StorageError
from agent.model import Event, Sink
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.ownership import NOBODY, TENANTS, Owner, Owners, Tally, living
from agent.mqtt.control import Control
from agent.mqtt.topics import ROOTS
from agent.mqtt.wire.delivery import Delivery

log = logging.getLogger(__name__)

COUNT = "$SYS/broker/retained messages/count"
STORED = "$SYS/broker/store/messages/bytes"
MARK = "edge-agent/retained"  # nobody hears it: its acknowledgement comes behind what was sent before
_EVERYTHING = tuple(f"{root}/#" for root in (*ROOTS, TENANTS))
# Beyond, somebody is looked for. 20,000 devices with a status and a birth each are below.
_MANY, _MANY_BYTES = 60_000, 96 << 20
_AT_ONCE = 10_000  # topics: then what is known is taken away first
_PASSES = 200
_PASS_SECONDS = 60.0
_REST_SECONDS = 2.0  # a device that was renamed, an import: one look for all of it
_AGAIN_SECONDS = 60.0  # between two looks that only a number asks for
_LOOK_SECONDS = 3600.0

Accounts = Callable[[], Mapping[str, Account]]
Tenants = Callable[[], Collection[str] | None]


class Retained:
    """`new` makes a connection of the user RETAINED. `shut_out` keeps a device away from the broker for a while."""

    def __init__(
        self,
        new: Callable[[], Control],
        accounts: Accounts,
        tenants: Tenants,
        shut_out: Callable[[str], None],
        record: Sink,
    ) -> None:
        self._new, self._accounts, self._tenants = new, accounts, tenants
        self._shut_out, self._record = shut_out, record
        self._wake = asyncio.Event()
        self._living: frozenset[tuple[str, str, str]] = frozenset()
        self._tally = Tally()
        self._owners: Owners | None = None
        self._seen = 0
        self._gone: dict[str, None] = {}
        self._is_many = False
        self._rests_until = 0.0

    def changed(self) -> None:
        """Accounts have changed; whether somebody has gone."""
        before, self._living = self._living, living(self._accounts())
        if not before <= self._living:
            self._wake.set()

    def number(self, delivery: Delivery) -> None:
        """What the broker says of itself, at COUNT and STORED."""
        try:
            many = int(delivery.payload) > (_MANY if delivery.topic == COUNT else _MANY_BYTES)
        except ValueError:
            return
        if many and asyncio.get_running_loop().time() >= self._rests_until:
            self._is_many = True
            self._wake.set()

    async def wait(self) -> None:
        """Until there is a reason to look."""
        await self._wake.wait()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            was_many, self._is_many = self._is_many, False
            if not await self._look() and was_many:
                self._rests_until = asyncio.get_running_loop().time() + _AGAIN_SECONDS
            await asyncio.sleep(_REST_SECONDS)
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self.wait()
            except TimeoutError:
                log.debug("retained messages are looked at once more")

    async def _look(self) -> int:
        """Again and again, until nothing is found that has to go; how many went."""
        self._tally = Tally()
        taken = 0
        for _ in range(_PASSES):
            told = len(self._tally.over)
            try:
                async with asyncio.timeout(_PASS_SECONDS):
                    found = await self._pass()
            except TimeoutError:
                log.warning("retained messages could not be looked through in time")
                break
            taken += found
            if not found and told == len(self._tally.over):
                break
            self._tally.found.clear()
        if taken:
            log.info("retained messages taken away", extra={"messages": taken})
        await self._tell([_event(whose) for whose in self._tally.over])
        return taken

    async def _pass(self) -> int:
        """One connection; how many were taken away. It waits for a broker that is away."""
        control, done = self._new(), asyncio.Event()
        self._seen, self._gone, self._owners = 0, {}, None
        for filter_ in _EVERYTHING:
            control.subscribe(filter_, self._receive, retained=True)

        async def work() -> None:
            before = -1
            while before != self._seen and len(self._gone) < _AT_ONCE:
                before = self._seen
                await control.publish(MARK, b"")
            owners = Owners(self._accounts(), self._tenants())
            self._gone = {topic: None for topic in self._gone if self._goes(owners.of(topic))}
            for topic in self._gone:
                await control.publish(topic, b"", qos=0, retain=True)
            await control.publish(MARK, b"")
            done.set()

        control.on_connected.append(work)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(control.run(), name="mqtt-retained-look")
            await done.wait()
            running.cancel()
        return len(self._gone)

    def _receive(self, delivery: Delivery) -> None:
        if not delivery.retained or not delivery.payload:
            return
        self._seen += 1
        if self._owners is None:  # now, not before: the broker may have been away for long
            self._owners = Owners(self._accounts(), self._tenants())
        whose = self._owners.of(delivery.topic)
        if whose not in (None, NOBODY) and self._tally.add(whose, len(delivery.payload)) and whose.device:
            self._shut_out(whose.device)
        if self._goes(whose):
            self._gone[delivery.topic] = None

    def _goes(self, whose: Owner | None) -> bool:
        return whose is not None and (whose == NOBODY or whose in self._tally.over)

    async def _tell(self, events: Sequence[Event]) -> None:
        if not events:
            return
        for event in events:
            log.warning(event.message, extra=dict(event.attributes))
        try:
            await self._record(events)
        except (StorageError, AwayError) as why:
            log.warning("what was retained can't be told", extra={"reason": why})


def _event(whose: Owner) -> Event:
    said = "more retained messages than one may have: they are taken away"
    if whose.tenant:
        return Event("tenant.retained", tenant=whose.tenant, message=f"tenant {whose.tenant}: {said}")
    if not whose.device:
        return Event("device.retained", message=f"one of several bridges: {said}")
    return Event(
        "device.shut-out",
        message=f"{whose.device}: {said}, and it is kept out for a while",
        attributes={"device": whose.device},
    )
