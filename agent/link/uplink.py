"""The bulk lane: what lies in the spool goes up in batches, and is forgotten when central has it.

At most `window_bytes` of Welcome are on their way unacknowledged. Classes take turns, a batch each, the bill and the
audit trail first, so that a backlog of device messages delays them by one round only.
"""

import asyncio
from collections import deque

from agent.clock import Clock
from agent.config.schema import LinkConfig
from agent.errors import AwayError
from agent.link import codec
from agent.link.session import Lane
from agent.model import RecordClass
from agent.spool.spool import Spool

# Bounds of Welcome.window_bytes. `_resume` sends up to a few hundred bytes before acks are read: a window of less than
# that would wait for itself.
_LEAST_WINDOW_BYTES, _MOST_WINDOW_BYTES = 64 << 10, 16 << 20
# A batch costs both sides about half a millisecond of processor, however small it is: no two small ones within this.
# What comes after a pause goes at once.
_PACE_SECONDS = 0.002


class Uplink:
    """For one open lane; `run` ends with AwayError when the lane does."""

    def __init__(self, lane: Lane, spool: Spool, config: LinkConfig, clock: Clock) -> None:
        self._lane, self._spool, self._config, self._clock = lane, spool, config, clock
        self._sent: dict[RecordClass, int] = {}
        self._unacked: dict[int, deque[tuple[int, int]]] = {c: deque() for c in RecordClass}
        self._window_bytes = min(max(lane.welcome.window_bytes, _LEAST_WINDOW_BYTES), _MOST_WINDOW_BYTES)
        self._in_flight_bytes = 0
        self._acked = asyncio.Event()

    async def run(self) -> None:
        await self._resume()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receive(), name="uplink.receive")
            group.create_task(self._pump(), name="uplink.pump")

    async def _resume(self) -> None:
        """Begin behind what central holds, wherever the last session ended."""
        stored = {int(p.record_class): p.seq for p in self._lane.welcome.stored}
        for view in self._spool.view().classes:
            have = stored.get(view.record_class, 0)
            if have >= view.next_seq:
                raise AwayError(
                    f"central holds {view.record_class.name} up to {have}, this spool only reached {view.next_seq - 1}:"
                    " two nodes with one identity, or a spool restored from a copy"
                )
            self._sent[view.record_class] = have
            if have > view.acked_seq:
                await self._spool.ack(view.record_class, have)
            elif have < view.acked_seq:
                batch = codec.forgotten(view.record_class, have + 1, view.acked_seq, self._clock.stamp())
                await self._send(view.record_class, batch, view.acked_seq)

    async def _pump(self) -> None:
        while True:
            moved = [await self._send_next(record_class) for record_class in RecordClass]
            if not any(moved):
                idle_since = self._clock.seconds()
                await self._spool.grown()
                if (soon := idle_since + _PACE_SECONDS - self._clock.seconds()) > 0:
                    await asyncio.sleep(soon)

    async def _send_next(self, record_class: RecordClass) -> bool:
        if self._sent[record_class] + 1 >= self._spool.next_seq(record_class):
            return False
        entries = await self._spool.read(
            record_class,
            self._sent[record_class],
            max_records=self._config.batch_records,
            max_bytes=self._config.batch_bytes,
        )
        if not entries:
            return False
        batch = codec.batch(record_class, entries, self._clock.stamp())
        await self._send(record_class, batch, entries[-1].seq)
        return True

    async def _send(self, record_class: RecordClass, batch: bytes, last_seq: int) -> None:
        size = len(batch)
        # One batch may always be on its way, also when it alone is larger than a small window.
        while self._in_flight_bytes and self._in_flight_bytes + size > self._window_bytes:
            self._acked.clear()
            await self._acked.wait()
        # Before the write: its ack may be here before the write returns.
        self._sent[record_class] = last_seq
        self._in_flight_bytes += size
        self._unacked[record_class].append((last_seq, size))
        await self._lane.send(batch)

    async def _receive(self) -> None:
        async for frame in self._lane.frames():
            # A class that this agent doesn't know is none that it sent; the wire is additive.
            if frame.WhichOneof("frame") == "ack" and frame.ack.record_class in self._unacked:
                self._on_ack(RecordClass(frame.ack.record_class), frame.ack.seq)

    def _on_ack(self, record_class: RecordClass, seq: int) -> None:
        waiting = self._unacked[record_class]
        while waiting and waiting[0][0] <= seq:
            self._in_flight_bytes -= waiting.popleft()[1]
        self._acked.set()
        self._spool.acknowledge(record_class, min(seq, self._sent[record_class]))
