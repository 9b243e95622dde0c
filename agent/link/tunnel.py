"""Central's calls of AgentService, carried by the control lane: one task a call, with a deadline and credits."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from agent.errors import REASONS, EdgeError, RefusedError
from agent.link import codec
from storeedge.v1 import control_pb2

log = logging.getLogger(__name__)

# method, serialised request, principal -> serialised replies. Raises EdgeError.
Answer = Callable[[str, bytes, str], AsyncGenerator[bytes]]
Send = Callable[[control_pb2.AgentFrame], Awaitable[None]]

MAX_CALLS = 64
MAX_REPLY_BYTES = 192 * 1024


@dataclass(slots=True)
class _InFlight:
    task: asyncio.Task[None]
    credit: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))


class Tunnel:
    """The calls in flight of one session. Its tasks live in `group` and end with it."""

    def __init__(self, answer: Answer, send: Send, group: asyncio.TaskGroup) -> None:
        self._answer, self._send, self._group = answer, send, group
        self._calls: dict[int, _InFlight] = {}

    async def call(self, call: control_pb2.Call) -> None:
        if call.id in self._calls:
            return
        if len(self._calls) >= MAX_CALLS:
            await self._end(call.id, "NO_ROOM", f"{MAX_CALLS} calls are in flight on this node")
            return
        task = self._group.create_task(self._serve(call), name=f"call.{call.method}.{call.id}")
        self._calls[call.id] = _InFlight(task)
        # Not a `finally` in the task: one that is cancelled before its first step never gets there.
        task.add_done_callback(lambda _: self._calls.pop(call.id, None))
        self.credit(call.id, max(1, call.credit))

    def credit(self, call_id: int, more: int) -> None:
        if (call := self._calls.get(call_id)) is not None:
            for _ in range(min(more, 1024)):
                call.credit.release()

    def cancel(self, call_id: int) -> None:
        if (call := self._calls.get(call_id)) is not None:
            call.task.cancel()

    async def _serve(self, call: control_pb2.Call) -> None:
        try:
            await self._replies(call)
        except TimeoutError:
            await self._end(call.id, "DEADLINE", f"{call.method} did not end within {call.deadline_milli} ms")
        except RefusedError as error:
            await self._end(call.id, error.reason, str(error))
        except EdgeError as error:
            await self._end(call.id, "AWAY", str(error))
        except Exception:
            log.exception("call failed", extra={"method": call.method})
            await self._end(call.id, "INTERNAL", "the agent failed; its log has the reason")
        else:
            await self._end(call.id, "OK", "")

    async def _replies(self, call: control_pb2.Call) -> None:
        async with asyncio.timeout(min(call.deadline_milli, 86_400_000) / 1000):
            async with aclosing(self._answer(call.method, call.payload, call.principal)) as replies:
                async for payload in replies:
                    if len(payload) > MAX_REPLY_BYTES:
                        raise RefusedError("NO_ROOM", f"a reply of {len(payload)} bytes is over {MAX_REPLY_BYTES}")
                    await self._calls[call.id].credit.acquire()
                    reply = control_pb2.CallReply(id=call.id, payload=payload)
                    await self._send(control_pb2.AgentFrame(call_reply=reply))

    async def _end(self, call_id: int, reason: str, message: str) -> None:
        status = codec.status(reason, REASONS[reason], message) if reason != "OK" else None
        reply = control_pb2.CallReply(id=call_id)
        reply.end.SetInParent()
        if status is not None:
            reply.end.CopyFrom(status)
        await self._send(control_pb2.AgentFrame(call_reply=reply))
