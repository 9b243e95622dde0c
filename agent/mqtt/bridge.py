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

_IDLE_SECONDS = 5.0
_UNSETTLED_SECONDS = 0.5
_RETRY_BASE_SECONDS = 0.1
_RETRY_CAP_SECONDS = 5.0
_COMPLAINT_SECONDS = 60.0
_MAX_COMPLAINTS = 1000


class _Outcome(NamedTuple):
    """What has to be durable before a batch is acknowledged, and what is then remembered of all of it."""

    intake: Intake
    deliveries: list[Delivery]
    bodies: list[Body]
    held: list[tuple[DeviceMessage, Hold]]
    marks: list[int]


class Bridge:
    """`deliver` takes what comes, `drain` records and acknowledges it, one batch after the other: order is kept.

    While one batch is written the next is decided. It isn't recorded before the one before was acknowledged and is out
    of the kernel: so a kill leaves there at most one batch that was recorded.

    A message is acknowledged when its record is durable, when a rule keeps it in the store or thins it out, or when it
    is refused. Until then it stays in the kernel or with the broker, which delivers it again (with the duplicate flag)
    on each new connection. A copy is acknowledged and not recorded again: of what was recorded while only the
    acknowledgement was lost, also by a process that was killed since (Handled).

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
        self._batches: deque[tuple[Intake, list[Delivery], bool]] = deque()
        self._decided: deque[_Outcome] = deque()
        self._arrived, self._ready = asyncio.Event(), asyncio.Event()
        self._complaints: dict[str, tuple[float, int]] = {}
        self.expired = 0
        """Messages that nobody wanted any more when their turn came."""

    @property
    def settled(self) -> bool:
        """Everything that the registry was told is durable."""
        return not self._decided

    def deliver(self, intake: Intake, deliveries: list[Delivery], again: bool) -> None:
        """Called by the connection, which has two batches at most that aren't acknowledged.

        `again`: some may be what a process before this one was killed over, without the duplicate flag.
        """
        self._batches.append((intake, deliveries, again))
        self._arrived.set()

    def forget(self) -> None:
        """The broker begins a new session: packet ids mean something else from now on."""
        self._handled.forget()

    def wake(self) -> None:
        """Let `drain` look at its stop event."""
        self._arrived.set()
        self._ready.set()

    async def drain(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Until `stop`; what is decided is finished. What can't be stays in the kernel."""
        async with asyncio.TaskGroup() as group:
            deciding = group.create_task(self._decide_all(stop), name="mqtt-decide")
            await self._store_all(stop, beat)
            deciding.cancel()

    async def _decide_all(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not self._batches:
                await _first(self._arrived, _IDLE_SECONDS)
                self._arrived.clear()
                continue
            self._decided.append(self._decide(*self._batches.popleft()))
            self._ready.set()
            await asyncio.sleep(0)

    async def _store_all(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        while self._decided or not stop.is_set():
            beat()
            if not self._decided:
                await _first(self._ready, _IDLE_SECONDS)
                self._ready.clear()
                continue
            outcome = self._decided[0]
            if not await self._store(outcome, stop, beat):
                return
            self._decided.popleft()
            self._handled.note(outcome.marks)
            outcome.intake.acknowledge(outcome.deliveries)
            while not outcome.intake.settled.is_set():
                if stop.is_set():
                    return
                await _first(outcome.intake.settled, _UNSETTLED_SECONDS)
                beat()

    def _decide(self, intake: Intake, brought: list[Delivery], again: bool) -> _Outcome:
        """A loop that each message goes through."""
        deliveries, marks = self._without_copies(brought, again)
        bodies: list[Body] = []
        held: list[tuple[DeviceMessage, Hold]] = []
        now = Now(self._clock.seconds(), self._clock.wall_nano())
        rules, decode, observe = self._rules, self._registry.decode, self._registry.observe
        for delivery in deliveries:
            topic = delivery.topic
            where = parse(topic)
            decoded = PLAIN if where is None else decode(where, delivery)
            found = convert(delivery, rules, now, decoded.values)
            if isinstance(found, Refused):
                self._complain(f"device message refused: {found.why}", found.device, topic)
                continue
            where, message, hold, shown, _ = found
            events = observe(where, delivery, now.unix_nano, shown, decoded)
            if events:
                bodies += events
            if message is None:
                continue
            if delivery.expiry_seconds == 0:
                self.expired += 1
                if hold is not None:
                    self._rules.gone(topic)
                self._complain("device message expired before it was recorded", where.device, topic)
            elif hold is not None:
                held.append((message, hold))
            else:
                bodies.append(message)
        return _Outcome(intake, brought, bodies, held, marks)

    def _without_copies(self, deliveries: list[Delivery], again: bool) -> tuple[list[Delivery], list[int]]:
        """What isn't known to be durable, and the marks of all."""
        found: list[Delivery] = []
        marks: list[int] = []
        for delivery in deliveries:
            topic, payload, _, _, redelivered, packet_id, _, _, _, _, _ = delivery
            if packet_id:
                marks.append(mark(packet_id, topic, payload))
                if redelivered and self._handled.has(marks[-1]):
                    continue
            found.append(delivery)
        if again:
            noted = {each >> 32 for each in marks[: self._handled.repeated(marks)]}
            found = [each._replace(redelivered=each.qos > 0) for each in found if each.packet_id not in noted]
        return found, marks

    async def _store(self, outcome: _Outcome, stop: asyncio.Event, beat: Callable[[], None]) -> bool:
        """Try until all of it is durable; False when `stop` came first."""
        bodies, held = outcome.bodies, outcome.held
        if not bodies and not held:
            return True
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
        return True

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
