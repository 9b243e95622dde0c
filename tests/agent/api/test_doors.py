"""The store's own socket: what a caller hears when something goes wrong."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import pytest

from agent.api.doors import ApiService
from agent.errors import RefusedError
from agent.link import codec


class Api:
    async def answer(self, method: str, payload: bytes, principal: str) -> AsyncGenerator[bytes]:
        if method == "ListJobs":
            raise RefusedError("NO_ROOM", "too many")
        raise KeyError("the secret of /var/lib/edge-agent")
        yield payload + principal.encode()


async def ask(path: Path, method: str) -> grpc.aio.AioRpcError:
    path.chmod(0o700)
    api: Any = Api()
    service = ApiService(api, codec.status, socket=path / "sock", listen="", credentials=None)
    stop = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        started = asyncio.Event()
        group.create_task(service.run(stop, started.set))
        await started.wait()
        async with grpc.aio.insecure_channel(f"unix:{path}/sock") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await channel.unary_unary(f"/storeedge.v1.AgentService/{method}")(b"")
        stop.set()
    return failure.value


async def test_a_refusal_arrives_with_its_code_and_words(tmp_path: Path) -> None:
    error = await ask(tmp_path, "ListJobs")
    assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")


async def test_a_fault_of_the_agents_own_tells_a_caller_nothing_of_its_inside(tmp_path: Path) -> None:
    error = await ask(tmp_path, "GetNode")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == "the agent failed; its log has the reason"


async def test_nobody_else_on_the_box_may_open_the_socket(tmp_path: Path) -> None:
    modes: list[int] = []
    service = ApiService(Api(), codec.status, socket=tmp_path / "sock", listen="", credentials=None)  # type: ignore[arg-type]  # never called
    stop = asyncio.Event()

    def beat() -> None:
        modes.append((tmp_path / "sock").stat().st_mode & 0o777)
        stop.set()

    await service.run(stop, beat)
    assert modes == [0o660]
