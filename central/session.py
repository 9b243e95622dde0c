"""A session while it is open: reads frames, writes frames, and watches that the node is still there."""

import asyncio
import logging
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError

from central import batches, bounds
from central.lane import OpenLane, Register
from central.peer import Peer
from central.refusal import RefusedError, check, refused
from central.store import nodes, records
from central.store.database import Database
from central.store.keys import Keys
from central.store.nodes import NodeRow
from storeedge.v1.control_pb2 import Ack, AgentFrame, Batch, CentralFrame, Heartbeat, Hello, Welcome
from storeedge.v1.desired_pb2 import Desired
from storeedge.v1.types_pb2 import LANE_BULK, LANE_CONTROL, Lane, Position, RecordClass

log = logging.getLogger("central.session")

WINDOW_BYTES = 1 << 20
HELLO_SECONDS = 20.0
MISSED_HEARTBEATS = 3
_IDLE_SECONDS = 3600.0

Context = grpc.aio.ServicerContext[Any, Any]


class Sessions:
    def __init__(
        self, database: Database, register: Register, wall_nano: Callable[[], int], heartbeat_seconds: int
    ) -> None:
        self._database = database
        self._register = register
        self._wall_nano = wall_nano
        self._heartbeat_seconds = heartbeat_seconds
        self._keys = Keys()

    async def serve(self, peer: Peer, node: NodeRow, hello: Hello, context: Context) -> None:
        """Until the node leaves. Raises RefusedError when the session ends otherwise."""
        lane = self._open(node, hello)
        log.info("%s lane of %s opened", _word(lane), lane.name)
        try:
            await self._welcome(lane, hello, context)
            with self._register.holding(lane):
                await self._wish(lane, hello)
                async with asyncio.TaskGroup() as tasks:
                    loops = [
                        tasks.create_task(self._read(lane, context)),
                        tasks.create_task(self._store(lane)),
                        tasks.create_task(_write(lane, context)),
                        tasks.create_task(self._watch(lane, peer)),
                    ]
                    # Not awaited itself: a cancelled handler would cancel it, and calls would wait for ever.
                    await asyncio.wait([lane.ended])
                    for task in loops:
                        task.cancel()
        finally:
            log.info("%s lane of %s closed", _word(lane), lane.name)
            await self._database.run(partial(_note_seen, lane=lane))
        refusal = lane.ended.result()
        if refusal is not None:
            raise refusal

    def _open(self, node: NodeRow, hello: Hello) -> OpenLane:
        loop = asyncio.get_running_loop()
        return OpenLane(
            node_id=node.id,
            name=node.name,
            lane=hello.lane,
            epoch=hello.spool_epoch,
            agent_version=hello.agent_version,
            ended=loop.create_future(),
            last_frame=loop.time(),
            last_seen=self._wall_nano(),
            applied_revision=hello.desired_revision,
        )

    async def _welcome(self, lane: OpenLane, hello: Hello, context: Context) -> None:
        """Written before anybody can find the lane, or anything can end it.

        A call or a desired state ahead of it would be no welcome; and a refusal that overtakes the first write, which
        carries the headers, never reaches the client: it would wait for ever (grpcio 1.85, 0 of 20 arrived).
        """

        def begin(db: sqlite3.Connection) -> dict[RecordClass, int]:
            _note_seen(db, lane)
            if hello.sealing_key_der:
                nodes.set_sealing_key(db, lane.node_id, hello.sealing_key_der)
            return records.positions(db, lane.node_id, lane.epoch)

        positions = await self._database.run(begin)
        welcome = Welcome(
            session=secrets.token_hex(8),
            server_time_unix_nano=self._wall_nano(),
            stored=[Position(record_class=c, seq=s) for c, s in sorted(positions.items())],
            window_bytes=WINDOW_BYTES,
            heartbeat_seconds=self._heartbeat_seconds,
        )
        await context.write(CentralFrame(welcome=welcome))

    async def _wish(self, lane: OpenLane, hello: Hello) -> None:
        """Send what is desired if the node has an older revision; a newer one finds the registered lane by itself."""
        if lane.lane != LANE_CONTROL:
            return
        revision, content = await self._database.run(partial(nodes.desired, node=lane.node_id))
        if revision > hello.desired_revision:
            lane.wish(desired_frame(revision, content))

    async def _read(self, lane: OpenLane, context: Context) -> None:
        try:
            while (frame := await context.read()) is not grpc.aio.EOF:
                lane.last_frame = asyncio.get_running_loop().time()
                lane.last_seen = self._wall_nano()
                await self._on_frame(lane, frame)
            await lane.batches.join()
            lane.end(None)
        except RefusedError as refusal:
            lane.end(refusal)
        except DecodeError:
            lane.end(refused("BAD_REQUEST", "frame: is no AgentFrame"))

    async def _store(self, lane: OpenLane) -> None:
        """On disk first, then acknowledged. What came while one transaction ran is stored by the next, in one."""
        try:
            while True:
                waiting = [await lane.batches.get()]
                while not lane.batches.empty():
                    waiting.append(lane.batches.get_nowait())
                work = partial(_keep, lane=lane, waiting=waiting, now=self._wall_nano(), keys=self._keys)
                held, refusal = await self._database.run(work)
                for record_class, seq in held.items():
                    await lane.send(CentralFrame(ack=Ack(record_class=record_class, seq=seq)))
                if refusal is not None:
                    raise refusal
                for _ in waiting:
                    lane.batches.task_done()
        except RefusedError as refusal:
            lane.end(refusal)
        except sqlite3.Error:
            log.exception("can't store")
            lane.end(refused("STORAGE", "central can't store records now"))

    async def _on_frame(self, lane: OpenLane, frame: AgentFrame) -> None:
        """Raises RefusedError, which ends the session."""
        if frame.ByteSize() > bounds.MAX_FRAME_BYTES:
            raise refused("BAD_REQUEST", f"frame: at most {bounds.MAX_FRAME_BYTES} bytes, not {frame.ByteSize()}")
        match frame.WhichOneof("frame"):
            case "batch" if lane.lane == LANE_BULK:
                if broken := batches.violation(frame.batch):
                    raise refused("BAD_REQUEST", broken)
                await lane.batches.put(frame.batch)
            case "heartbeat" if lane.lane == LANE_CONTROL:
                _on_heartbeat(lane, frame.heartbeat)
            case "call_reply" if lane.lane == LANE_CONTROL:
                check(frame.call_reply, "call_reply")
                lane.calls.on_reply(frame.call_reply)
            case kind:
                raise refused("BAD_REQUEST", f"frame: {kind or 'nothing'} has no place on the {_word(lane)} lane now")

    async def _watch(self, lane: OpenLane, peer: Peer) -> None:
        """End the session when heartbeats stay away or the certificate expires: TLS looks at it only once."""
        loop = asyncio.get_running_loop()
        patience = self._heartbeat_seconds * MISSED_HEARTBEATS
        while True:
            valid = (peer.not_after_unix_nano - self._wall_nano()) / 1e9
            left = lane.last_frame + patience - loop.time() if lane.lane == LANE_CONTROL else _IDLE_SECONDS
            if valid <= 0:
                lane.end(refused("CERTIFICATE_EXPIRED", f"certificate {peer.serial} has expired"))
                return
            if left <= 0:
                lane.end(refused("HEARTBEAT_LOST", f"no frame for {patience} s"))
                return
            await asyncio.sleep(min(valid, left))


async def read_hello(context: Context) -> Hello:
    """The first frame. Raises RefusedError."""
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            frame = await context.read()
    except TimeoutError as error:
        raise refused("BAD_REQUEST", f"no hello within {HELLO_SECONDS:.0f} s") from error
    except DecodeError as error:
        raise refused("BAD_REQUEST", "frame: is no AgentFrame") from error
    if frame is grpc.aio.EOF or frame.WhichOneof("frame") != "hello":
        raise refused("BAD_REQUEST", "the first frame must be hello")
    check(frame.hello, "hello")
    return cast("Hello", frame.hello)


def desired_frame(revision: int, content: bytes) -> CentralFrame:
    desired = Desired.FromString(content)
    desired.revision = revision
    return CentralFrame(desired=desired)


async def _write(lane: OpenLane, context: Context) -> None:
    while (frame := await lane.outbound.get()) is not None:
        await context.write(frame)
    lane.end(refused("DRAINING", "central is going away"))


def _on_heartbeat(lane: OpenLane, heartbeat: Heartbeat) -> None:
    check(heartbeat, "heartbeat")
    lane.applied_revision = heartbeat.desired_revision
    lane.spool_records = heartbeat.spool_records


def _keep(
    db: sqlite3.Connection, lane: OpenLane, waiting: Sequence[Batch], now: int, keys: Keys
) -> tuple[dict[RecordClass, int], RefusedError | None]:
    """What is held of each class now; the refusal of a batch that could not be taken, when those before it are kept."""
    held: dict[RecordClass, int] = {}
    for batch in waiting:
        try:
            held[batch.record_class] = records.store(db, lane.node_id, lane.epoch, batch, now, keys)
        except RefusedError as refusal:
            return held, refusal
    return held, None


def _note_seen(db: sqlite3.Connection, lane: OpenLane) -> None:
    nodes.seen(db, lane.node_id, lane.last_seen, lane.agent_version, lane.applied_revision)


def _word(lane: OpenLane) -> str:
    return Lane.Name(lane.lane).removeprefix("LANE_").lower()
