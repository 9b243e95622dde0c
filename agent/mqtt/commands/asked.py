"""Commands that tenants' jobs leave at tenants/<tenant>/devices/<id>/cmd/<name>: judged, bounded, answered."""

import asyncio
import logging
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from agent import orders
from agent.clock import Clock
from agent.errors import AwayError, RefusedError, StorageError
from agent.model import AuditEntry, Sink
from agent.mqtt import tenants
from agent.mqtt.commands.commands import Commands
from agent.mqtt.commands.outcome import MAX_QUEUE_SECONDS, Asked, check
from agent.mqtt.commands.reports import Publish
from agent.mqtt.topics import MAX_TOPIC_BYTES
from agent.mqtt.wire.delivery import Delivery
from agent.spec import MqttView

log = logging.getLogger(__name__)

# Of one tenant: so many at once, and so many a second on average. Each is three records that are never dropped.
BURST = 30.0
PER_SECOND = 1.0
MAX_TENANTS = 256
MAX_CORRELATION_BYTES = 128
DEADLINE_SECONDS = 10
_MAX_DEADLINE_SECONDS = 60
_MAX_INBOX = 256
_COMPLAINT_SECONDS = 60.0
_REFUSAL_EXPIRY_SECONDS = 60
_ASSURANCES = {"at-most-once": False, "at-least-once": True}


@dataclass(frozen=True, slots=True)
class Wanted:
    tenant: str
    order: orders.CommandOrder
    reply_topic: str
    reply_correlation: bytes


@dataclass(slots=True)
class _Tenant:
    tokens: float = BURST
    since_seconds: float = 0.0
    complained_seconds: float = -math.inf
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """How a refusal, or the word that it waits, reaches the tenant."""

    topic: str
    correlation_data: bytes
    words: tuple[tuple[str, str], ...]
    text: str = ""


def read(delivery: Delivery) -> Wanted:
    """What is wanted. Raises RefusedError BAD_REQUEST; ValueError when the topic is none of a tenant's commands."""
    left = tenants.command(delivery.topic)
    if left is None:
        raise ValueError(delivery.topic)
    words = dict(delivery.user_properties)
    assurance = words.get("assurance", "at-most-once")
    if assurance not in _ASSURANCES:
        raise RefusedError("BAD_REQUEST", f"assurance {assurance[:64]!r} must be one of {', '.join(_ASSURANCES)}")
    queue = words.get("queue-seconds", "0")
    if not (queue.isascii() and queue.isdigit() and len(queue) <= 6 and int(queue) <= MAX_QUEUE_SECONDS):
        raise RefusedError("BAD_REQUEST", f"queue-seconds {queue[:64]!r} must be 0..{MAX_QUEUE_SECONDS}")
    if len(delivery.correlation_data) > MAX_CORRELATION_BYTES:
        raise RefusedError("BAD_REQUEST", f"correlation data over {MAX_CORRELATION_BYTES} bytes")
    seconds = DEADLINE_SECONDS if delivery.expiry_seconds is None else max(delivery.expiry_seconds, 1)
    order = orders.CommandOrder(
        actor=f"tenant/{left.tenant}",
        device=left.device,
        name=left.name,
        payload=delivery.payload,
        timeout_seconds=float(min(seconds, _MAX_DEADLINE_SECONDS)),
        idempotency_key=words.get("idempotency-key", ""),
        at_least_once=_ASSURANCES[assurance],
        queue_seconds=int(queue),
    )
    check(order)
    return Wanted(left.tenant, order, reply_topic(delivery, left.tenant), delivery.correlation_data)


def reply_topic(delivery: Delivery, tenant: str) -> str:
    """Where the tenant wants its answer, if it may be there: else where all look for it."""
    asked = delivery.response_topic
    if asked and len(asked.encode(errors="replace")) <= MAX_TOPIC_BYTES and tenants.may_answer(tenant, asked):
        return asked
    return f"{delivery.topic}/ack"


@dataclass(slots=True)
class Buckets:
    """How much each tenant may ask for. The longest silent are forgotten first: they are full again by then."""

    tenants: OrderedDict[str, _Tenant] = field(default_factory=OrderedDict[str, _Tenant])

    def of(self, tenant: str, now: float) -> _Tenant:
        known = self.tenants.setdefault(tenant, _Tenant(since_seconds=now))
        self.tenants.move_to_end(tenant)
        if len(self.tenants) > MAX_TENANTS:
            self.tenants.popitem(last=False)
        known.tokens = min(BURST, known.tokens + (now - known.since_seconds) * PER_SECOND)
        known.since_seconds = now
        return known

    def take(self, tenant: str, now: float) -> bool:
        known = self.of(tenant, now)
        if known.tokens < 1:
            return False
        known.tokens -= 1
        return True

    def complain(self, tenant: str, now: float) -> int:
        """How many refusals the next complaint stands for; 0 = the last complaint is too young."""
        known = self.of(tenant, now)
        known.refused += 1
        if now - known.complained_seconds < _COMPLAINT_SECONDS:
            return 0
        count, known.refused, known.complained_seconds = known.refused, 0, now
        return count


class TenantCommands:
    """`receive` is Control's callback, cheap and bounded; `run` judges what came, in order."""

    def __init__(
        self,
        commands: Commands,
        record: Sink,
        publish: Publish,
        may: Callable[[str, str, str], MqttView | None],
        clock: Clock,
    ) -> None:
        self._commands = commands
        self._record = record
        self._publish = publish
        self._may = may
        self._clock = clock
        self._buckets = Buckets()
        self._inbox: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._complaints: list[AuditEntry] = []

    def receive(self, delivery: Delivery) -> None:
        """What is beyond the tenant's bound gets no answer: an answer to each would be its weapon."""
        tenant = delivery.topic.split("/", 2)[1] if delivery.topic.count("/") > 1 else ""
        if delivery.retained:
            return
        if len(self._inbox) >= _MAX_INBOX or not self._buckets.take(tenant, self._clock.seconds()):
            self._complain(tenant, delivery.topic, "NO_ROOM")
            return
        self._inbox.append(delivery)
        self._arrived.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch = list(self._inbox)
            self._inbox.clear()
            for reply in await self._judge(batch):
                try:
                    await self._publish(
                        reply.topic,
                        reply.text.encode(),
                        correlation_data=reply.correlation_data,
                        expiry_seconds=_REFUSAL_EXPIRY_SECONDS,
                        user_properties=reply.words,
                    )
                except AwayError as why:
                    log.debug("a tenant was not told", extra={"reason": why})

    async def _judge(self, batch: list[Delivery]) -> list[Reply]:
        replies: list[Reply] = []
        able: list[tuple[Delivery, Wanted, MqttView]] = []
        for delivery in batch:
            try:
                wanted = read(delivery)
                able.append((delivery, wanted, self._granted(wanted)))
            except RefusedError as why:
                replies.append(self._refusal(delivery, why))
            except ValueError:
                continue
        complaints, self._complaints = self._complaints, []
        asked = [
            AuditEntry(w.order.actor, "device.command", f"{w.order.device}/{w.order.name}", "asked") for _, w, _ in able
        ]
        try:
            if asked or complaints:
                await self._record([*complaints, *asked])
            replies += await self._ask(able)
        except StorageError as why:  # what can't be written down is not done
            replies += [self._refusal(delivery, RefusedError("NO_ROOM", str(why))) for delivery, _, _ in able]
        return replies

    async def _ask(self, able: list[tuple[Delivery, Wanted, MqttView]]) -> list[Reply]:
        replies: list[Reply] = []
        waiting: list[Reply] = []
        for delivery, wanted, view in able:
            asked = Asked(wanted.tenant, view.store, wanted.reply_topic, wanted.reply_correlation)
            if self._commands.ask_again(wanted.order, asked):
                continue
            try:
                command = self._commands.ask(wanted.order, asked)
            except RefusedError as why:
                replies.append(self._refusal(delivery, why))
                continue
            if wanted.order.queue_seconds:
                words = (("command", command.id), ("state", "queued"))
                waiting.append(Reply(wanted.reply_topic, wanted.reply_correlation, words))
        if waiting:
            await self._commands.stored()
        return replies + waiting

    def _granted(self, wanted: Wanted) -> MqttView:
        order = wanted.order
        try:
            view = self._may(wanted.tenant, order.device, order.name)
        except AwayError as why:
            raise RefusedError("AWAY", str(why)) from why
        if view is None:  # the same words whether there is such a device or not
            raise RefusedError("PERMISSION_DENIED", f"no job of yours was granted {order.name} of {order.device}")
        return view

    def _refusal(self, delivery: Delivery, why: RefusedError) -> Reply:
        tenant = delivery.topic.split("/", 2)[1]
        self._complain(tenant, delivery.topic, why.reason)
        correlation_data = delivery.correlation_data[:MAX_CORRELATION_BYTES]
        return Reply(reply_topic(delivery, tenant), correlation_data, (("refused", why.reason),), str(why))

    def _complain(self, tenant: str, topic: str, reason: str) -> None:
        """Refusals are counted, and written down once a minute for each tenant: the trail must not be its to fill."""
        count = self._buckets.complain(tenant, self._clock.seconds())
        if count:
            target = topic.partition("/devices/")[2].replace("/cmd/", "/")[:128]
            detail = f"{count} refused since the last entry"
            self._complaints.append(AuditEntry(f"tenant/{tenant}", "device.command", target, reason, detail))
            log.warning("tenant's command refused", extra={"tenant": tenant, "reason": reason, "count": count})
            self._arrived.set()
