import asyncio
import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

from central.lane import OpenLane, Register
from central.names import NodeName
from central.peer import Peer
from central.session import Sessions
from central.store import nodes
from central.store.database import Database
from storeedge.v1.control_pb2 import Call, CentralFrame, Hello
from storeedge.v1.types_pb2 import LANE_CONTROL

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
