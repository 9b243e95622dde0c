import asyncio
import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from central.lane import OpenLane, Register
from central.names import NodeName
from central.peer import Peer
from central.refusal import RefusedError
from central.session import Sessions
from central.store import nodes, records
from central.store.database import Database
from storeedge.v1.control_pb2 import AgentFrame, Batch, Call, CentralFrame, Hello
from storeedge.v1.record_pb2 import DeviceMessage, Record
from storeedge.v1.types_pb2 import LANE_BULK, LANE_CONTROL, RECORD_CLASS_DEVICE

NODE = NodeName("s", "n")


class Eager(Register):
    """A caller who finds each lane the moment it can be found."""

    @contextlib.contextmanager
    def holding(self, opened: OpenLane) -> Generator[None]:
        with super().holding(opened):
            opened.offer(CentralFrame(call=Call(id=1)))
            yield


class Context:
    def __init__(self) -> None:
        self.written: asyncio.Queue[CentralFrame] = asyncio.Queue()

    async def read(self) -> None:
        await asyncio.Event().wait()

    async def write(self, frame: CentralFrame) -> None:
        self.written.put_nowait(frame)


async def test_nothing_comes_before_welcome(tmp_path: Path) -> None:
    database, context = Database(tmp_path / "db"), Context()
    await database.run(lambda db: nodes.invite(db, NODE))
    node: Any = await database.run(lambda db: nodes.find(db, NODE))
    sessions = Sessions(database, Eager(), lambda: 1, 5)
    hello = Hello(lane=LANE_CONTROL, boot_id="b" * 36, spool_epoch="e")
    peer = Peer("spiffe://d/store/s/node/n", NODE, "1", 1 << 62, b"")
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(sessions.serve(peer, node, hello, context))  # type: ignore[arg-type]  # a context of ours
        kinds = [(await context.written.get()).WhichOneof("frame") for _ in range(2)]
        serving.cancel()
    database.close()
    assert kinds == ["welcome", "call"]


async def test_nothing_can_end_a_session_before_welcome_is_written(tmp_path: Path) -> None:
    """A status that overtakes a handler's first write never reaches the client (grpc.aio)."""

    class Slow(Context):
        async def read(self) -> None:
            self.written.put_nowait(CentralFrame())  # what a read would come before

        async def write(self, frame: CentralFrame) -> None:
            for _ in range(50):
                await asyncio.sleep(0)
            await super().write(frame)

    database, context = Database(tmp_path / "db"), Slow()
    await database.run(lambda db: nodes.invite(db, NODE))
    node: Any = await database.run(lambda db: nodes.find(db, NODE))
    sessions = Sessions(database, Register(), lambda: 1, 5)
    hello = Hello(lane=LANE_CONTROL, boot_id="b" * 36, spool_epoch="e")
    peer = Peer("spiffe://d/store/s/node/n", NODE, "1", 1 << 62, b"")
    with contextlib.suppress(Exception):  # the fake's frame is nothing that a session could read
        await sessions.serve(peer, node, hello, context)  # type: ignore[arg-type]  # a context of ours
    database.close()
    assert (await context.written.get()).WhichOneof("frame") == "welcome"


def batch(first: int, *texts: str) -> AgentFrame:
    records = [Record(device=DeviceMessage(device="d", topic="devices/d/t", payload=t.encode())) for t in texts]
    return AgentFrame(batch=Batch(record_class=RECORD_CLASS_DEVICE, first_seq=first, records=records))


async def test_batches_that_wait_are_stored_together_and_those_before_a_hole_are_kept(tmp_path: Path) -> None:
    frames = [batch(1, "a", "b"), batch(3, "c"), batch(9, "z")]

    class Node(Context):
        async def read(self) -> AgentFrame:  # type: ignore[override]  # one that says something
            if frames:
                return frames.pop(0)
            await asyncio.Event().wait()
            raise AssertionError

    database, context = Database(tmp_path / "db"), Node()
    await database.run(lambda db: nodes.invite(db, NODE))
    node: Any = await database.run(lambda db: nodes.find(db, NODE))
    sessions = Sessions(database, Register(), lambda: 1, 5)
    hello = Hello(lane=LANE_BULK, boot_id="b" * 36, spool_epoch="e")
    peer = Peer("spiffe://d/store/s/node/n", NODE, "1", 1 << 62, b"")
    async with asyncio.timeout(5):
        with pytest.raises(RefusedError) as caught:
            await sessions.serve(peer, node, hello, context)  # type: ignore[arg-type]  # a context of ours
    held = await database.run(lambda db: records.positions(db, node.id, "e"))
    database.close()
    assert caught.value.reason == "SEQUENCE_HOLE"
    assert held == {RECORD_CLASS_DEVICE: 3}
