"""Calls through the session: credits, deadlines, cancellation, words for every failure."""

import asyncio
from collections.abc import AsyncGenerator

from google.rpc import error_details_pb2

from agent.errors import AwayError, RefusedError
from agent.link.tunnel import MAX_CALLS, Tunnel
from storeedge.v1 import control_pb2


class Central:
    """The other end: keeps what comes, and can wait for it."""

    def __init__(self) -> None:
        self.replies: list[control_pb2.CallReply] = []
        self._came = asyncio.Condition()

    async def send(self, frame: control_pb2.AgentFrame) -> None:
        async with self._came:
            self.replies.append(frame.call_reply)
            self._came.notify_all()

    async def until(self, count: int) -> list[control_pb2.CallReply]:
        async with asyncio.timeout(5), self._came:
            await self._came.wait_for(lambda: len(self.replies) >= count)
        return self.replies


def call(method: str, *, call_id: int = 1, credit: int = 16, deadline_milli: int = 5000) -> control_pb2.Call:
    return control_pb2.Call(id=call_id, method=method, deadline_milli=deadline_milli, principal="p", credit=credit)


async def answer(method: str, payload: bytes, principal: str) -> AsyncGenerator[bytes]:
    match method:
        case "Count":
            for n in range(4):
                yield str(n).encode()
        case "Refuse":
            raise RefusedError("NOT_FOUND", "no job hello")
        case "Away":
            raise AwayError("launcher is away")
        case "Bug":
            raise ZeroDivisionError
        case "Big":
            yield b"x" * 200_000
        case _:
            await asyncio.Event().wait()


def reason(reply: control_pb2.CallReply) -> tuple[int, str]:
    info = error_details_pb2.ErrorInfo()
    if reply.end.details:
        reply.end.details[0].Unpack(info)
    return reply.end.code, info.reason


async def outcome(method: str, **options: int) -> tuple[int, str]:
    central = Central()
    async with asyncio.TaskGroup() as group:
        await Tunnel(answer, central.send, group).call(call(method, **options))
        return reason((await central.until(1))[0])


async def test_replies_come_in_order_and_end_with_ok() -> None:
    central = Central()
    async with asyncio.TaskGroup() as group:
        await Tunnel(answer, central.send, group).call(call("Count"))
        replies = await central.until(5)
    assert [r.payload for r in replies[:4]] == [b"0", b"1", b"2", b"3"]
    assert replies[4].WhichOneof("reply") == "end"
    assert replies[4].end.code == 0


async def test_no_reply_is_sent_beyond_the_credit() -> None:
    central = Central()
    async with asyncio.TaskGroup() as group:
        tunnel = Tunnel(answer, central.send, group)
        await tunnel.call(call("Count", credit=2))
        await central.until(2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(central.replies) == 2
        tunnel.credit(1, 2)
        assert len(await central.until(5)) == 5


async def test_failures_have_words() -> None:
    assert await outcome("Refuse") == (5, "NOT_FOUND")
    assert await outcome("Away") == (14, "AWAY")
    assert await outcome("Bug") == (13, "INTERNAL")
    assert await outcome("Hang", deadline_milli=20) == (4, "DEADLINE")
    assert await outcome("Big") == (8, "NO_ROOM")


async def test_a_cancelled_call_ends_silently_and_leaves_room() -> None:
    central = Central()
    async with asyncio.TaskGroup() as group:
        tunnel = Tunnel(answer, central.send, group)
        for call_id in range(MAX_CALLS):
            await tunnel.call(call("Hang", call_id=call_id))
        await tunnel.call(call("Count", call_id=900))
        assert reason((await central.until(1))[0]) == (8, "NO_ROOM")
        for call_id in range(MAX_CALLS):
            tunnel.cancel(call_id)
        for _ in range(5):
            await asyncio.sleep(0)
        await tunnel.call(call("Count", call_id=901))
        assert (await central.until(6))[-1].end.code == 0
