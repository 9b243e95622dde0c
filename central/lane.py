"""One lane of one node while it is open, and the register of all of them."""

import asyncio
import contextlib
from collections.abc import Generator
from dataclasses import dataclass, field

from central.calls import Calls
from central.names import NodeName
from central.refusal import RefusedError, refused
from storeedge.v1.control_pb2 import Batch, CentralFrame, Drain
from storeedge.v1.types_pb2 import LANE_CONTROL, Lane

_QUEUE = 256  # frames that wait to be written
_BATCHES = 8  # that wait to be stored, of at most 256 KiB each; then the node is not read


@dataclass
class OpenLane:
    """An open lane. It ends when `ended` is resolved: with a refusal, or None when the node left."""

    node_id: int
    name: NodeName
    lane: Lane
    epoch: str
    agent_version: str
    ended: "asyncio.Future[RefusedError | None]"
    last_frame: float  # loop time
    last_seen: int  # ns since 1970
    applied_revision: int
    spool_records: int = 0
    outbound: "asyncio.Queue[CentralFrame | None]" = field(default_factory=lambda: asyncio.Queue(_QUEUE))
    batches: "asyncio.Queue[Batch]" = field(default_factory=lambda: asyncio.Queue(_BATCHES))
    calls: Calls = field(init=False)

    def __post_init__(self) -> None:
        self.calls = Calls(self.send, self.offer)

    async def send(self, frame: CentralFrame) -> None:
        """Queue a frame, waiting for room. Raises RefusedError(NODE_AWAY) when the lane has ended."""
        if self.ended.done():
            raise refused("NODE_AWAY", f"{self.name} is not connected")
        await self.outbound.put(frame)

    def offer(self, frame: CentralFrame) -> None:
        """Queue a frame if there is room."""
        if not self.ended.done():
            with contextlib.suppress(asyncio.QueueFull):
                self.outbound.put_nowait(frame)

    def wish(self, frame: CentralFrame) -> None:
        """Queue a desired state. Without room the lane ends: the node gets it with its next session, and not never."""
        try:
            self.outbound.put_nowait(frame)
        except asyncio.QueueFull:
            self.end(refused("DRAINING", "the node does not read what is sent to it"))

    def end(self, refusal: RefusedError | None) -> None:
        """Resolve `ended`, once, and fail the calls under way."""
        if not self.ended.done():
            self.ended.set_result(refusal)
            self.calls.fail(refused("NODE_AWAY", f"{self.name} went away"))
            while not self.outbound.empty():  # nobody writes them any more, and `send` may wait for their room
                self.outbound.get_nowait()

    def drain(self, deadline_seconds: int) -> None:
        """Ask the node to go elsewhere; the lane ends once it has been told."""
        try:
            self.outbound.put_nowait(CentralFrame(drain=Drain(deadline_seconds=deadline_seconds)))
            self.outbound.put_nowait(None)
        except asyncio.QueueFull:
            self.end(refused("DRAINING", "central is going away"))


class Register:
    """The open lanes: at most one of each kind for a node, the newest."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, Lane], OpenLane] = {}
        self._draining: int | None = None

    @contextlib.contextmanager
    def holding(self, opened: OpenLane) -> Generator[None]:
        """Registered within the block; an older session of the same node and lane ends with SUPERSEDED."""
        key = (opened.node_id, opened.lane)
        older = self._open.get(key)
        self._open[key] = opened
        if older is not None:
            older.end(refused("SUPERSEDED", "a newer session of this node and lane was opened"))
        if self._draining is not None:
            opened.drain(self._draining)
        try:
            yield
        finally:
            opened.end(None)
            if self._open.get(key) is opened:
                del self._open[key]

    def control(self, node_id: int) -> OpenLane | None:
        """The control lane of a node: it is connected when there is one."""
        return self._open.get((node_id, LANE_CONTROL))

    def drain(self, deadline_seconds: int) -> None:
        """Also those that were being opened meanwhile."""
        self._draining = deadline_seconds
        for opened in list(self._open.values()):
            opened.drain(deadline_seconds)
