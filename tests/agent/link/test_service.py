"""The link against a central that misbehaves: the node comes back, whatever ends a session."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from agent.clock import Clock
from agent.config.schema import LinkConfig
from agent.identity import tls
from agent.link import service
from agent.link.service import LinkService
from agent.link.session import open_lane
from agent.link.wanted import Wanted
from agent.model import RecordClass
from agent.spool.record import Draft
from agent.spool.spool import Spool, open_spool
from storeedge.v1 import control_pb2
from tests.fakes.authority import Fleet

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
Session = Callable[[Any], Awaitable[None]]
PATIENT = LinkConfig(backoff_base_seconds=0.05, backoff_max_seconds=0.1, connect_timeout_seconds=5.0)


async def nothing(*_: object) -> None:
    pass


async def no_answer(method: str, *_: object) -> AsyncGenerator[bytes]:
    yield method.encode()


class Handler(grpc.GenericRpcHandler):
    """Control in bytes, so that it can send what is no message."""

    def __init__(self, session: Session, renew: Session) -> None:
        self._session, self._renew = session, renew

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        async def session(_: object, context: Any) -> None:
            await self._session(context)

        async def renew(_: object, context: Any) -> bytes:
            await self._renew(context)
            return b""

        if handler_call_details.method.endswith("/Session"):
            return grpc.stream_stream_rpc_method_handler(session)
        return grpc.unary_unary_rpc_method_handler(renew)


def welcome(*, server_time: int = 0, stored: int = 0) -> bytes:
    message = control_pb2.Welcome(session="s", window_bytes=1 << 20, heartbeat_seconds=1)
    message.server_time_unix_nano = server_time
    if stored:
        message.stored.add().record_class = stored  # type: ignore[assignment]  # a number that is no class
    return control_pb2.CentralFrame(welcome=message).SerializeToString()


@asynccontextmanager
async def linked(
    path: Path,
    patch: pytest.MonkeyPatch,
    session: Session,
    *,
    renew: Session = nothing,
    clock: Clock | None = None,
    config: LinkConfig = PATIENT,
) -> AsyncGenerator[tuple[LinkService, Spool]]:
    """A link that dials a central without TLS, which has its own tests."""
    path.chmod(0o700)
    clock = clock or Clock("b" * 36)
    server = grpc.aio.server(handlers=(Handler(session, renew),))
    server.add_insecure_port(f"unix:{path}/central")
    await server.start()
    patch.setattr(tls, "probe", nothing)
    patch.setattr(tls, "channel", lambda _: grpc.aio.insecure_channel(f"unix:{path}/central"))
    identity = await Fleet().identity(path)
    spool, _ = open_spool(path / "spool.db", limit_bytes=1 << 20, epoch="e", set_aside=".corrupt", clock=clock)
    link = LinkService(
        config,
        state_dir=path,
        identity=identity,
        version="1",
        spool=spool,
        wanted=Wanted(path / "desired.pb", check=lambda _: None, apply=nothing, record=nothing),
        answer=no_answer,
        record=nothing,
        clock=clock,
        draw=lambda: 0.5,
        sealing_key_der=b"public half",
    )
    stop = asyncio.Event()
    try:
        async with asyncio.timeout(15), asyncio.TaskGroup() as group:
            group.create_task(link.run(stop, lambda: None))
            yield link, spool
            stop.set()
    finally:
        await server.stop(0)
        await spool.close()


class Central:
    """Ends the first sessions as `trouble` does, and welcomes the later ones for good."""

    def __init__(self, trouble: Session, *, sessions: int = 1, welcome: bytes = b"") -> None:
        self._trouble, self._troubles = trouble, sessions
        self._welcome = welcome
        self.frames: asyncio.Queue[control_pb2.AgentFrame] = asyncio.Queue()

    async def session(self, context: Any) -> None:
        self._troubles -= 1
        if self._troubles >= 0:
            await self._trouble(context)
            return
        await context.write(self._welcome or welcome())
        while (frame := await context.read()) is not grpc.aio.EOF:
            await self.frames.put(control_pb2.AgentFrame.FromString(frame))

    async def heartbeat(self) -> None:
        while (await self.frames.get()).WhichOneof("frame") != "heartbeat":
            pass


async def test_a_node_says_what_its_secrets_are_sealed_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    central = Central(nothing, sessions=0)
    async with linked(tmp_path, monkeypatch, central.session):
        hellos = [(await central.frames.get()).hello for _ in range(2)]
    assert [hello.sealing_key_der for hello in hellos] == [b"public half"] * 2


async def cancelled_at_once(context: Any) -> None:
    await context.abort(grpc.StatusCode.CANCELLED, "going down")


async def cancelled_later(context: Any) -> None:
    await context.read()
    await context.write(welcome())
    await context.abort(grpc.StatusCode.CANCELLED, "going down")


async def garbage_first(context: Any) -> None:
    await context.write(b"\xff\xff\xff")
    await context.read()


async def garbage_later(context: Any) -> None:
    await context.write(welcome())
    await context.write(b"\xff\xff\xff")
    while await context.read() is not grpc.aio.EOF:
        pass


async def garbage_status(context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "no", (("grpc-status-details-bin", b"\xff\xff\xff"),))


async def ack_of_no_class(context: Any) -> None:
    await context.write(welcome(stored=77))
    ack = control_pb2.Ack(seq=1)
    await context.write(control_pb2.CentralFrame(ack=ack).SerializeToString())
    await asyncio.sleep(0)
    await context.abort(grpc.StatusCode.UNAVAILABLE, "bye")


@pytest.mark.parametrize(
    "trouble",
    [cancelled_at_once, cancelled_later, garbage_first, garbage_later, garbage_status, ack_of_no_class],
    ids=lambda t: t.__name__,
)
async def test_a_node_comes_back_whatever_central_does(
    trouble: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    central = Central(trouble, sessions=3)
    async with linked(tmp_path, monkeypatch, central.session):
        await central.heartbeat()


async def test_a_session_that_ends_at_once_is_a_failed_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: asyncio.Queue[int] = asyncio.Queue()

    def jitter(attempt: int, **_: float) -> float:
        attempts.put_nowait(attempt)
        return 0.01

    monkeypatch.setattr(service, "full_jitter", jitter)
    async with linked(tmp_path, monkeypatch, Central(cancelled_later, sessions=1 << 30).session):
        assert [await attempts.get() for _ in range(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize(("weeks_ahead", "renewed"), [(3, False), (-300, True)])
async def test_a_certificate_is_renewed_by_centrals_clock(
    weeks_ahead: int, renewed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def renew(context: Any) -> None:
        asked.set()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "later")

    true = int((await Fleet().identity(tmp_path)).not_before_unix_nano) + (16 * DAY if renewed else DAY)
    central = Central(nothing, sessions=0, welcome=welcome(server_time=true))
    clock = Clock("b" * 36, wall_nano=lambda: true + weeks_ahead * 7 * DAY)
    async with linked(tmp_path, monkeypatch, central.session, renew=renew, clock=clock):
        await central.heartbeat()
        await central.heartbeat()
        assert asked.is_set() is renewed


async def test_a_window_too_small_for_anything_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A central that forgot everything: the gaps that say so go out before acks are read."""
    message = control_pb2.Welcome(session="s", window_bytes=1, heartbeat_seconds=1)
    central = Central(nothing, sessions=0, welcome=control_pb2.CentralFrame(welcome=message).SerializeToString())
    monkeypatch.setattr(service, "open_lane", _after(open_lane, lambda: ready.wait()))
    ready = asyncio.Event()
    async with linked(tmp_path, monkeypatch, central.session) as (_, spool):
        classes = (RecordClass.AUDIT, RecordClass.EVENT, RecordClass.DEVICE)
        await spool.append([Draft(c, b"") for c in classes])
        for record_class in classes:
            await spool.ack(record_class, 1)
        ready.set()
        batches = 0
        while batches < len(classes):
            batches += (await central.frames.get()).WhichOneof("frame") == "batch"


def _after(opener: Any, ready: Callable[[], Awaitable[object]]) -> Any:
    async def late(*args: Any, **options: Any) -> Any:
        await ready()
        return await opener(*args, **options)

    return late
