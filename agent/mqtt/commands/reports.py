"""What ended commands owe: an entry in the audit trail and an event; an answer to the tenant who asked."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from agent.errors import AwayError, StorageError
from agent.model import AuditEntry, Body, Event, Sink
from agent.mqtt.commands.queue import RECORD, REPLY, Command, Now, Queue
from agent.orders import CommandState

log = logging.getLogger(__name__)

_RETRY_SECONDS = 5.0
# An answer that nobody takes up within this time is of no use to anybody.
_REPLY_EXPIRY_SECONDS = 3600
_REASONS = {
    CommandState.EXPIRED: "DEADLINE",
    CommandState.UNANSWERED: "DEADLINE",
    CommandState.CANCELLED: "PERMISSION_DENIED",
}


class Publish(Protocol):
    """Control.publish. Raises LostError when it may have been sent, another AwayError when it was not."""

    def __call__(
        self,
        topic: str,
        payload: bytes,
        *,
        response_topic: str = "",
        correlation_data: bytes = b"",
        expiry_seconds: int = 0,
        user_properties: tuple[tuple[str, str], ...] = (),
    ) -> Awaitable[None]: ...


class Reports:
    """A report that can't be made is tried again, and after a restart too: it may be made twice, never not."""

    def __init__(self, record: Sink, publish: Publish) -> None:
        self._record = record
        self._publish = publish
        self._whole: dict[str, bytes] = {}
        self.due = asyncio.Event()

    def whole(self, id_: str, payload: bytes) -> None:
        """An answer of which the queue keeps only the beginning; after a restart it is all there is."""
        self._whole[id_] = payload

    async def run(self, queue: Queue, now: Callable[[], Now], paid: asyncio.Event) -> None:
        """`paid` is set when the queue has something to write down."""
        self.due.set()
        while True:
            await self.due.wait()
            self.due.clear()
            done = await self._replies(queue, now)
            done = await self._records(queue, now) and done
            paid.set()
            if not done:
                await asyncio.sleep(_RETRY_SECONDS)
                self.due.set()

    async def _replies(self, queue: Queue, now: Callable[[], Now]) -> bool:
        for command in [each for each in queue.owing() if each.owes & REPLY]:
            try:
                await self._reply(command)
            except AwayError:
                return False
            self._whole.pop(command.id, None)
            queue.paid(command.id, REPLY, now())
        return True

    async def _records(self, queue: Queue, now: Callable[[], Now]) -> bool:
        due = [each for each in queue.owing() if each.owes & RECORD]
        try:
            if due:
                await self._record([body for command in due for body in _bodies(command)])
        except StorageError as why:
            log.warning("ended commands not written down yet", extra={"reason": why, "commands": len(due)})
            return False
        for command in due:
            queue.paid(command.id, RECORD, now())
        return True

    async def _reply(self, command: Command) -> None:
        words: list[tuple[str, str]] = [("command", command.id), ("state", command.state.value)]
        payload = self._whole.get(command.id, command.answer)
        if command.answer_bytes > len(payload):
            words.append(("cut", str(command.answer_bytes)))
        if command.state in _REASONS:
            words.append(("refused", _REASONS[command.state]))
            payload = f"{command.name} to {command.device}: {command.state}".encode()
        await self._publish(
            command.reply_topic,
            payload,
            correlation_data=command.reply_correlation,
            expiry_seconds=_REPLY_EXPIRY_SECONDS,
            user_properties=tuple(words),
        )


def _bodies(command: Command) -> tuple[Body, ...]:
    """Neither payload nor answer: they may have to stay in the store."""
    outcome = "ok" if command.state is CommandState.ANSWERED else command.state.value
    return (
        AuditEntry(
            command.actor,
            "device.command",
            f"{command.device}/{command.name}",
            outcome,
            f"command {command.id}, sent {command.sent} times",
        ),
        Event(
            "device.command",
            tenant=command.scope,
            attributes={
                "device": command.device,
                "name": command.name,
                "command": command.id,
                "state": command.state.value,
                "sent": str(command.sent),
            },
        ),
    )
