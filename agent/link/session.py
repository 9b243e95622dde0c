"""One lane of the session: Hello up, Welcome down, then frames both ways until somebody leaves."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from agent.errors import AwayError
from agent.link.codec import MAX_FRAME_BYTES
from storeedge.v1 import control_pb2

Frame = control_pb2.AgentFrame | bytes  # bytes are an AgentFrame that is serialised already
Call = grpc.aio.StreamStreamCall[Frame, control_pb2.CentralFrame]

# Frames that wait to be written; then whoever sends waits.
_QUEUE = 8

_STATUS_KEY = "grpc-status-details-bin"


class Lane:
    """An open lane. Every method raises AwayError, with central's own words, once it has ended."""

    def __init__(self, call: Call, welcome: control_pb2.Welcome) -> None:
        self._call = call
        self._outbound: asyncio.Queue[bytes] = asyncio.Queue(_QUEUE)
        self.welcome = welcome

    async def send(self, frame: Frame) -> None:
        """Queue a frame, waiting for room. May be cancelled: only `write` touches the stream."""
        data = _serialised(frame)
        if len(data) > MAX_FRAME_BYTES:
            raise AssertionError(f"a frame of {len(data)} bytes is over the bound: {data[:64]!r}")
        await self._outbound.put(data)

    async def write(self) -> None:
        """Put queued frames on the stream, one at a time, until the lane ends.

        One task does this for all senders: cancelling a gRPC write cancels its whole call, and a caller that leaves
        must not take the session with it.
        """
        try:
            while True:
                await self._call.write(await self._outbound.get())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise await why_ended(self._call) from error

    async def frames(self) -> AsyncIterator[control_pb2.CentralFrame]:
        try:
            while True:
                frame = await self._call.read()
                if frame is grpc.aio.EOF:
                    break
                yield _parsed(frame)
        except grpc.aio.AioRpcError as error:
            raise await why_ended(self._call) from error
        except asyncio.CancelledError:
            # gRPC raises this also when the call was cancelled and this task was not: a TaskGroup would let a task
            # that ends so pass in silence, and the lane would be gone without anybody noticing.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise AwayError("the session was cancelled") from None
        raise await why_ended(self._call)

    def close(self) -> None:
        self._call.cancel()


async def open_lane(channel: grpc.aio.Channel, hello: control_pb2.Hello, *, timeout_seconds: float) -> Lane:
    """Raises AwayError when central doesn't answer with Welcome in time, or refuses."""
    call: Call = channel.stream_stream(
        "/storeedge.v1.Control/Session",
        request_serializer=_serialised,
        response_deserializer=control_pb2.CentralFrame.FromString,
    )()
    try:
        async with asyncio.timeout(timeout_seconds):
            await call.write(control_pb2.AgentFrame(hello=hello))
            frame = await call.read()
    except TimeoutError as error:
        call.cancel()
        raise AwayError(f"central did not answer within {timeout_seconds:g} s") from error
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
        raise await why_ended(call) from error
    except asyncio.CancelledError:
        call.cancel()
        raise
    if frame is grpc.aio.EOF:
        raise await why_ended(call)
    first = _parsed(frame)
    if first.WhichOneof("frame") != "welcome":
        call.cancel()
        raise AwayError(f"central began with {first.WhichOneof('frame')} instead of welcome")
    return Lane(call, first.welcome)


def _serialised(frame: Frame) -> bytes:
    return frame if isinstance(frame, bytes) else frame.SerializeToString()


def _parsed(frame: object) -> control_pb2.CentralFrame:
    # grpc.aio logs bytes that are no message, and hands out None in its place.
    if frame is None:
        raise AwayError("central sent something that is no CentralFrame")
    return cast("control_pb2.CentralFrame", frame)


async def why_ended(call: Call) -> AwayError:
    """The end of a call in words: the reason of central's google.rpc.Status where it sent one."""
    code = await call.code()
    words = await call.details() or code.name
    for key, value in await call.trailing_metadata() or ():
        if key == _STATUS_KEY and isinstance(value, bytes):
            words = f"{_reason(value)}: {words}"
    return AwayError(f"central ended the session: {words}")


def _reason(raw: bytes) -> str:
    info = error_details_pb2.ErrorInfo()
    try:
        for detail in status_pb2.Status.FromString(raw).details:
            if detail.Unpack(info):
                return info.reason
    except DecodeError:
        pass
    return "?"
