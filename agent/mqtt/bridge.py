"""From the broker to the spool in batches: recorded first, acknowledged after."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from agent.backoff import full_jitter
from agent.clock import Clock
from agent.errors import StorageError
from agent.model import Body, DeviceMessage, Sink
from agent.mqtt.convert import Now, Refused, convert
from agent.mqtt.handled import Handled, mark
from agent.mqtt.registry.decoded import PLAIN
from agent.mqtt.registry.registry import Registry
from agent.mqtt.rules.held import Held
from agent.mqtt.rules.judge import Hold
from agent.mqtt.rules.rules import Rules
from agent.mqtt.topics import parse
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.wire.intake import Intake

log = logging.getLogger(__name__)

# One group commit, and what one read brings (at most 3,600 messages that fit our topics). Research: 180,000 messages a
# second at 100 a commit, 270,000 at 1,000. A kill repeats the batch that was just written, and central knows a copy
# among its newest 4,000: a batch must stay below.
_BATCH_MESSAGES = 1000
_BATCH_BYTES = 4 << 20
# What may wait here: reading pauses beyond. Much, because what was read can't be lost with a killed broker.
_WAITING_MESSAGES = 20_000
_WAITING_BYTES = 16 << 20
_IDLE_SECONDS = 5.0
_RETRY_BASE_SECONDS = 0.1
_RETRY_CAP_SECONDS = 5.0
_COMPLAINT_SECONDS = 60.0
_MAX_COMPLAINTS = 1000
_NANO = 1_000_000_000


class _Arrivals(NamedTuple):
    """What one read brought, when, and in which session: of an earlier one, packet ids say nothing any more."""

    intake: Intake
    deliveries: list[Delivery]
    size_bytes: int
    now: Now
    session: int


class _Outcome(NamedTuple):
    """What has to be durable before a batch is acknowledged, and what is then remembered of it."""

    bodies: list[Body]
    held: list[tuple[DeviceMessage, Hold]]
    marks: list[int]


class Bridge:
    """`deliver` takes what comes, `drain` records and acknowledges it, one batch after the other: order is kept.

    A message is acknowledged when its record is durable, when a rule keeps it in the store or thins it out, or when it
    is refused. Until then the broker has it too, and delivers it again (with the duplicate flag) on each new
    connection. A copy is acknowledged and not recorded again: of what still waits here, of what was recorded while
    only the acknowledgement was lost, and of what was recorded before this process was killed (Handled).

    Between the record and its mark a kill leaves copies that nobody here knows: they are recorded with `redelivered`
    and their packet id, and central can tell (storeedge.v1.DeviceMessage).
    """

    def __init__(
        self,
        record: Sink,
        registry: Registry,
        rules: Rules,
        held: Held,
        handled: Handled,
        clock: Clock,
        draw: Callable[[], float],
    ) -> None:
        self._record = record
        self._registry = registry
        self._rules = rules
        self._held = held
        self._handled = handled
        self._clock = clock
        self._draw = draw
        self._inbox: deque[_Arrivals] = deque()
        self._waiting_messages = 0
        self._waiting_bytes = 0
        self._paused: Intake | None = None
        self._session = 0
        self._arrived = asyncio.Event()
        self._complaints: dict[str, tuple[float, int]] = {}
        self.settled = True
        """Everything that the registry was told is durable."""
        self.expired = 0
        """Messages that nobody wanted any more when their turn came."""

    def deliver(self, intake: Intake, deliveries: list[Delivery], size_bytes: int) -> None:
        """Called by the connection, in order, with what each read brought."""
        now = Now(self._clock.seconds(), self._clock.wall_nano())
        self._inbox.append(_Arrivals(intake, deliveries, size_bytes, now, self._session))
        self._waiting_messages += len(deliveries)
        self._waiting_bytes += size_bytes
        self._arrived.set()
        if self._full():
            self._paused = intake
            intake.pause()

    def forget(self) -> None:
        """The broker begins a new session: packet ids mean something else from now on."""
        self._session += 1
        self._handled.forget()

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
            outcome = self._decide(batch)
            if not await self._store(outcome, stop, beat):
                return
            self._acknowledge(batch, outcome)

    def _take(self) -> list[_Arrivals]:
        """Of one connection, so that a message and its copy are never in one batch. It waits until it is stored."""
        batch = [self._inbox.popleft()]
        messages, size = len(batch[0].deliveries), batch[0].size_bytes
        while self._inbox:
            then = self._inbox[0]
            messages += len(then.deliveries)
            size += then.size_bytes
            if messages > _BATCH_MESSAGES or size > _BATCH_BYTES or then.intake is not batch[0].intake:
                break
            batch.append(self._inbox.popleft())
        return batch

    def _full(self) -> bool:
        return self._waiting_messages >= _WAITING_MESSAGES or self._waiting_bytes >= _WAITING_BYTES

    def _decide(self, batch: list[_Arrivals]) -> _Outcome:
        outcome = _Outcome([], [], [])
        now_nano = self._clock.wall_nano()
        for arrivals in batch:
            self._decide_read(arrivals, outcome, now_nano)
        return outcome

    def _decide_read(self, arrivals: _Arrivals, outcome: _Outcome, now_nano: int) -> None:
        """A loop that each message goes through."""
        bodies, held, marks = outcome
        rules, decode, observe, now = self._rules, self._registry.decode, self._registry.observe, arrivals.now
        known, arrived_nano = arrivals.session == self._session, now.unix_nano
        for delivery in arrivals.deliveries:
            topic, payload, _, _, redelivered, packet_id, _, _, _, _, expiry_seconds = delivery
            if packet_id and known:
                found_mark = mark(packet_id, topic, payload)
                if redelivered and self._handled.has(found_mark):
                    continue
                marks.append(found_mark)
            where = parse(topic)
            decoded = PLAIN if where is None else decode(where, delivery)
            found = convert(delivery, rules, now, decoded.values)
            if isinstance(found, Refused):
                self._complain(f"device message refused: {found.why}", found.device, topic)
                continue
            where, message, hold, shown, _ = found
            events = observe(where, delivery, arrived_nano, shown, decoded)
            if events:
                bodies += events
            if message is None:
                continue
            if expiry_seconds is not None and arrived_nano + expiry_seconds * _NANO <= now_nano:
                self.expired += 1
                self._complain("device message expired before it was recorded", where.device, topic)
            elif hold is not None:
                held.append((message, hold))
            else:
                bodies.append(message)

    async def _store(self, outcome: _Outcome, stop: asyncio.Event, beat: Callable[[], None]) -> bool:
        """Try until all of it is durable; False when `stop` came first."""
        bodies, held, _ = outcome
        if not bodies and not held:
            return True
        self.settled = False
        attempt = 0
        while True:
            try:
                if held:
                    await self._held.put(held)
                    held.clear()
                if bodies:
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

    def _acknowledge(self, batch: list[_Arrivals], outcome: _Outcome) -> None:
        """One write for all of it, and room for as much."""
        intake, session = batch[0].intake, batch[0].session
        if session == self._session:
            self._handled.note(outcome.marks)
        intake.acknowledge([delivery for arrivals in batch for delivery in arrivals.deliveries])
        for arrivals in batch:
            self._waiting_messages -= len(arrivals.deliveries)
            self._waiting_bytes -= arrivals.size_bytes
        if self._paused is not None and not self._full():
            self._paused.resume()
            self._paused = None

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


async def _first(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`, at most `seconds`; whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
