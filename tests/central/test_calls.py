import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from google.rpc.status_pb2 import Status

from central.calls import CREDIT, MAX_CALLS, Calls
from central.refusal import RefusedError, refused
from storeedge.v1.control_pb2 import CallReply, CentralFrame


class Lane:
    def __init__(self) -> None:
        self.sent: list[CentralFrame] = []
        self.calls = Calls(self.send, self.sent.append)

    async def send(self, frame: CentralFrame) -> None:
        self.sent.append(frame)

    def kinds(self) -> list[str | None]:
        return [frame.WhichOneof("frame") for frame in self.sent]


async def collect(replies: AsyncIterator[bytes]) -> list[bytes]:
    return [payload async for payload in replies]


async def begun(lane: Lane) -> "asyncio.Task[list[bytes]]":
    task = asyncio.ensure_future(collect(lane.calls.call("M", b"q", 1000, "who")))
    while not lane.sent:
        await asyncio.sleep(0)
    return task


async def test_replies_come_in_order_and_credit_follows_what_was_taken() -> None:
    lane = Lane()
    task = await begun(lane)
    for number in range(CREDIT):
        lane.calls.on_reply(CallReply(id=1, payload=bytes([number])))
    while "call_credit" not in lane.kinds():
        await asyncio.sleep(0)
    assert sum(f.call_credit.credit for f in lane.sent) == CREDIT
    lane.calls.on_reply(CallReply(id=1, end=Status()))
    assert await task == [bytes([number]) for number in range(CREDIT)]
    assert lane.kinds().count("call_cancel") == 0


async def test_a_reply_beyond_the_credit_is_refused() -> None:
    lane = Lane()
    task = await begun(lane)
    for _ in range(CREDIT):
        lane.calls.on_reply(CallReply(id=1, payload=b""))
    with pytest.raises(RefusedError, match="no credit"):
        lane.calls.on_reply(CallReply(id=1, payload=b""))
    lane.calls.fail(refused("NODE_AWAY", "gone"))
    with pytest.raises(RefusedError) as caught:
        await task
    assert caught.value.reason == "NODE_AWAY"


async def test_leaving_early_cancels_the_call_and_late_replies_are_dropped() -> None:
    lane = Lane()
    replies = lane.calls.call("M", b"", 1000, "who")
    async with aclosing(replies):
        first = asyncio.ensure_future(anext(replies))
        while not lane.sent:
            await asyncio.sleep(0)
        lane.calls.on_reply(CallReply(id=1, payload=b"a"))
        assert await first == b"a"
    assert lane.kinds()[-1] == "call_cancel"
    lane.calls.on_reply(CallReply(id=1, payload=b"late"))


async def test_no_answer_within_the_deadline_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("central.calls.GRACE_SECONDS", 0.0)
    lane = Lane()
    with pytest.raises(RefusedError) as caught:
        await collect(lane.calls.call("M", b"", 1, "who"))
    assert caught.value.reason == "DEADLINE" and lane.kinds() == ["call", "call_cancel"]


async def test_a_node_takes_so_many_calls_at_once() -> None:
    lane = Lane()
    tasks = [await begun(lane) for _ in range(MAX_CALLS)]
    while len(lane.sent) < MAX_CALLS:
        await asyncio.sleep(0)
    with pytest.raises(RefusedError) as caught:
        await collect(lane.calls.call("M", b"", 1000, "who"))
    assert caught.value.reason == "NO_ROOM"
    lane.calls.fail(refused("NODE_AWAY", "gone"))
    assert all(isinstance(e, RefusedError) for e in await asyncio.gather(*tasks, return_exceptions=True))
