"""The control lane: desired state and calls come down, heartbeats go up."""

import asyncio
from collections.abc import Awaitable, Callable

from agent.clock import Clock
from agent.errors import AwayError
from agent.link.session import Lane
from agent.link.tunnel import Answer, Tunnel
from agent.spool.spool import Spool
from storeedge.v1 import control_pb2, desired_pb2

Applied = Callable[[], int]
Accept = Callable[[desired_pb2.Desired], Awaitable[None]]


class Downlink:
    """For one open lane; `run` ends with AwayError when the lane does, or when central drains."""

    def __init__(
        self, lane: Lane, *, answer: Answer, accept: Accept, applied: Applied, spool: Spool, clock: Clock
    ) -> None:
        self._lane, self._answer, self._accept, self._applied = lane, answer, accept, applied
        self._spool, self._clock = spool, clock

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            tunnel = Tunnel(self._answer, self._lane.send, group)
            group.create_task(self._heartbeats(), name="downlink.heartbeats")
            async for frame in self._lane.frames():
                await self._on_frame(frame, tunnel)

    async def _on_frame(self, frame: control_pb2.CentralFrame, tunnel: Tunnel) -> None:
        match frame.WhichOneof("frame"):
            case "desired":
                await self._accept(frame.desired)
                await self._heartbeat()
            case "call":
                await tunnel.call(frame.call)
            case "call_credit":
                tunnel.credit(frame.call_credit.id, frame.call_credit.credit)
            case "call_cancel":
                tunnel.cancel(frame.call_cancel.id)
            case "drain":
                raise AwayError("central drains: reconnecting")
            case _:
                pass  # a frame of a newer central; the wire is additive

    async def _heartbeats(self) -> None:
        interval_seconds = min(max(self._lane.welcome.heartbeat_seconds, 1), 300)
        while True:
            await self._heartbeat()
            await asyncio.sleep(interval_seconds)

    async def _heartbeat(self) -> None:
        spool = self._spool.view()
        heartbeat = control_pb2.Heartbeat(
            time_unix_nano=self._clock.wall_nano(),
            desired_revision=self._applied(),
            spool_bytes=spool.payload_bytes,
            spool_records=sum(c.records for c in spool.classes),
        )
        await self._lane.send(control_pb2.AgentFrame(heartbeat=heartbeat))
