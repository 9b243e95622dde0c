"""From the broker to the spool in batches: recorded first, acknowledged after."""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from agent.backoff import full_jitter
from agent.clock import Clock
from agent.errors import StorageError
from agent.model import Body, Sink
from agent.mqtt.broker import Connection
from agent.mqtt.convert import Now, Refused, convert
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.registry.registry import Registry
from agent.mqtt.rules.backlog import Backlog
from agent.mqtt.rules.rules import Rules

log = logging.getLogger(__name__)

# One group commit. Research: 180,000 messages a second at 100 a commit, 270,000 at 1,000; the bytes bound memory.
_BATCH_MESSAGES = 1000
_BATCH_BYTES = 4 << 20
_IDLE_SECONDS = 5.0
_RETRY_BASE_SECONDS = 0.1
_RETRY_CAP_SECONDS = 5.0
# How many receive maximums of handled messages are remembered. One should do, but see Connection.pause.
_HANDLED_WINDOWS = 8
_COMPLAINT_SECONDS = 60.0
_MAX_COMPLAINTS = 1000


@dataclass(slots=True)
class _Arrival:
    connection: Connection
    delivery: Delivery
    session: int


class Bridge:
    """`deliver` takes what comes, `drain` records and acknowledges it, one batch after the other: order is kept.

    A message is acknowledged when its record is durable, when a rule keeps it in the store, or when it is refused.
    Until then the broker has it too, and delivers it again (with the duplicate flag) on each new connection:

    * while the first copy still waits here, it takes over the new connection, and the second copy is dropped;
    * after it was recorded, and only the PUBACK was lost, the second copy is acknowledged and not recorded again;
    * after this process was killed nobody here knows: it is recorded, with `redelivered` and its packet id, and
      central can tell (storeedge.v1.DeviceMessage).

    At most `receive_maximum` messages (and what one read brings) wait here; beyond, the connection is not read.
    """

    def __init__(
        self, record: Sink, registry: Registry, clock: Clock, draw: Callable[[], float], receive_maximum: int
    ) -> None:
        self._record = record
        self._registry = registry
        self._clock = clock
        self._draw = draw
        self._inbox: deque[_Arrival] = deque()
        self._inbox_limit = receive_maximum
        self._in_hand = 0
        self._paused: Connection | None = None
        self._waiting: dict[int, _Arrival] = {}
        self._handled: OrderedDict[tuple[int, int], tuple[str, int]] = OrderedDict()
        self._session = 0
        self._handled_limit = _HANDLED_WINDOWS * receive_maximum
        self._arrived = asyncio.Event()
        self._complaints: dict[str, tuple[float, int]] = {}
        self.rules = Rules(Backlog())
        self.settled = True
        """Everything that the registry was told is durable."""

    def deliver(self, connection: Connection, delivery: Delivery) -> None:
        """Called by the connection, in order, for each message."""
        if delivery.packet_id:
            first = self._waiting.get(delivery.packet_id)
            if delivery.redelivered and first is not None and _same(first.delivery, delivery):
                first.connection = connection
                return
        arrival = _Arrival(connection, delivery, self._session)
        self._inbox.append(arrival)
        if delivery.packet_id:
            self._waiting[delivery.packet_id] = arrival
        self._arrived.set()
        if len(self._inbox) + self._in_hand >= self._inbox_limit:
            self._paused = connection
            connection.pause()

    def forget(self) -> None:
        """The broker begins a new session: packet ids mean something else from now on."""
        self._waiting.clear()
        self._session += 1

    def wake(self) -> None:
        """Let `drain` look at its stop event."""
        self._arrived.set()

    async def drain(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Until `stop`; the batch in hand is finished. What is left is not acknowledged, so the broker keeps it."""
        while not stop.is_set():
            beat()
            if not self._inbox:
                await _first(self._arrived, _IDLE_SECONDS)
                self._arrived.clear()
                continue
            batch = self._take()
            if not await self._store(self._decide(batch), stop, beat):
                return
            for arrival in batch:
                self._acknowledge(arrival)
            self._make_room()

    def _take(self) -> list[_Arrival]:
        batch: list[_Arrival] = []
        size = 0
        while self._inbox and len(batch) < _BATCH_MESSAGES and size < _BATCH_BYTES:
            arrival = self._inbox.popleft()
            size += len(arrival.delivery.payload)
            batch.append(arrival)
        self._in_hand = len(batch)
        return batch

    def _make_room(self) -> None:
        self._in_hand = 0
        if self._paused is not None and len(self._inbox) < self._inbox_limit:
            self._paused.resume()
            self._paused = None

    def _decide(self, batch: list[_Arrival]) -> list[Body]:
        """What has to be recorded for `batch`."""
        bodies: list[Body] = []
        now = self._clock.wall_nano()
        for arrival in batch:
            delivery = arrival.delivery
            if delivery.packet_id and self._was_handled(arrival):
                continue
            found = convert(delivery, self.rules, Now(self._clock.seconds(), now))
            if isinstance(found, Refused):
                self._complain(f"device message refused: {found.why}", found.device, delivery.topic)
                continue
            event = self._registry.observe(
                found.where, delivery.topic, delivery.payload, retained=delivery.retained, now_unix_nano=now
            )
            if event is not None:
                bodies.append(event)
            if found.message is not None:
                bodies.append(found.message)
        return bodies

    def _was_handled(self, arrival: _Arrival) -> bool:
        """Whether this is a second copy; a packet id alone doesn't say so, the broker uses it again."""
        delivery = arrival.delivery
        key, fingerprint = (arrival.session, delivery.packet_id), (delivery.topic, hash(delivery.payload))
        if delivery.redelivered and self._handled.get(key) == fingerprint:
            return True
        self._handled[key] = fingerprint
        self._handled.move_to_end(key)
        if len(self._handled) > self._handled_limit:
            self._handled.popitem(last=False)
        return False

    async def _store(self, bodies: list[Body], stop: asyncio.Event, beat: Callable[[], None]) -> bool:
        """Try until they are durable; False when `stop` came first."""
        if not bodies:
            return True
        self.settled = False
        attempt = 0
        while True:
            try:
                await self._record(bodies)
            except StorageError as why:
                if attempt == 0:
                    log.warning("messages can't be stored, the broker keeps them", extra={"reason": why})
                wait = full_jitter(
                    attempt, base_seconds=_RETRY_BASE_SECONDS, cap_seconds=_RETRY_CAP_SECONDS, draw=self._draw()
                )
                if await _first(stop, wait):
                    return False
                attempt += 1
                beat()
            else:
                break
        if attempt:
            log.info("messages can be stored again", extra={"attempts": attempt})
        self.settled = True
        return True

    def _acknowledge(self, arrival: _Arrival) -> None:
        packet_id = arrival.delivery.packet_id
        if packet_id:
            arrival.connection.acknowledge(packet_id)
            if self._waiting.get(packet_id) is arrival:
                del self._waiting[packet_id]

    def _complain(self, what: str, device: str, topic: str = "") -> None:
        """Count, and log at most once a minute for each device."""
        now = self._clock.seconds()
        since, count = self._complaints.get(device, (-_COMPLAINT_SECONDS, 0))
        if now - since < _COMPLAINT_SECONDS:
            self._complaints[device] = (since, count + 1)
            return
        if len(self._complaints) >= _MAX_COMPLAINTS:
            self._complaints.clear()
        self._complaints[device] = (now, 0)
        log.warning(what, extra={"device": device, "topic": repr(topic[:128]), "more_since_last": count})


def _same(one: Delivery, other: Delivery) -> bool:
    return one.topic == other.topic and one.payload == other.payload


async def _first(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`, at most `seconds`; whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
