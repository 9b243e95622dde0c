import asyncio
import errno
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AwayError, EdgeError, RefusedError, StorageError
from agent.sandbox import Sandbox, Usage
from tests.fakes.launcher import FACTS, REQUEST

STATE = {
    "run": "a", "tenant": "acme", "phase": "running", "pid": 5, "exit_code": None, "oom_killed": False,
    "started_unix_nano": 1, "ended_unix_nano": 0,
}  # fmt: skip


@asynccontextmanager
async def answering(path: Path, answer: Callable[[dict[str, Any]], tuple[bytes, list[int]]]) -> AsyncIterator[Sandbox]:
    """A launcher of one answer per connection; an empty one hangs up."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as listener:
        listener.bind(str(path))
        listener.listen()

        async def serve() -> None:
            while True:
                connection, _ = await loop.sock_accept(listener)
                with connection:
                    data, fds = answer(json.loads(await loop.sock_recv(connection, 200_000)))
                    if data:
                        socket.send_fds(connection, [data], fds)

        async with asyncio.TaskGroup() as group:
            served = group.create_task(serve())
            yield Sandbox(path, answer_seconds=5.0)
            served.cancel()


async def test_every_verb_speaks_the_protocol(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> tuple[bytes, list[int]]:
        heard.append(request)
        values: dict[str, Any] = {
            "hello": {name: getattr(FACTS, name) for name in FACTS.__slots__},
            "list": {"runs": [STATE, STATE]},
            "usage": {"cpu_nano": 1, "memory_bytes": 2, "memory_peak_bytes": 3, "pids": 4, "oom_kills": 5},
        }
        value = values.get(request["op"], STATE if request["op"] in ("start", "state", "watch") else {})
        return json.dumps({"ok": value}).encode(), []

    async with answering(tmp_path / "s", answer) as sandbox:
        assert await sandbox.hello() == FACTS
        assert (await sandbox.start(REQUEST)).pid == 5
        assert len(await sandbox.list_runs()) == 2
        state, fd = await sandbox.watch("a")
        assert (state, fd) == (await sandbox.state("a"), None)
        await sandbox.signal("a", "TERM")
        assert await sandbox.usage("a") == Usage(1, 2, 3, 4, 5)
        await sandbox.remove("a")
    assert [request["op"] for request in heard] == [
        "hello",
        "start",
        "list",
        "watch",
        "state",
        "signal",
        "usage",
        "remove",
    ]
    assert heard[1]["command"] == list(REQUEST.command)
    assert heard[5]["signal"] == "TERM"


async def test_a_descriptor_arrives_open(tmp_path: Path) -> None:
    source = os.memfd_create("log")
    os.write(source, b"line")
    async with answering(tmp_path / "s", lambda _: (b'{"ok": {}}', [source])) as sandbox:
        fd = await sandbox.open_log("a")
    assert os.pread(fd, 10, 0) == b"line"
    assert not os.get_inheritable(fd)
    os.close(fd)
    os.close(source)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        ({"code": "bad-request", "field": "pids"}, RefusedError, "BAD_REQUEST"),
        ({"code": "not-allowed", "field": ""}, RefusedError, "PERMISSION_DENIED"),
        ({"code": "not-found", "field": ""}, RefusedError, "NOT_FOUND"),
        ({"code": "no-room", "field": ""}, RefusedError, "NO_ROOM"),
        ({"code": "conflict", "field": ""}, RefusedError, "CONFLICT"),
        ({"code": "host", "field": ""}, RefusedError, "INTERNAL"),
        ({"code": "host", "field": "disk"}, StorageError, ""),
    ],
)
async def test_a_refusal_becomes_the_agents_own_error(
    tmp_path: Path, error: dict[str, str], kind: type[EdgeError], reason: str
) -> None:
    data = json.dumps({"error": error | {"message": "why"}}).encode()
    async with answering(tmp_path / "s", lambda _: (data, [])) as sandbox:
        with pytest.raises(kind, match="why") as raised:
            await sandbox.state("a")
    assert getattr(raised.value, "reason", "") == reason


async def test_a_launcher_that_dies_before_it_answers_is_away(tmp_path: Path) -> None:
    async with answering(tmp_path / "s", lambda _: (b"", [])) as sandbox:
        with pytest.raises(AwayError, match="in the middle"):
            await sandbox.state("a")


async def test_no_socket_or_nobody_behind_it_is_away(tmp_path: Path) -> None:
    with pytest.raises(AwayError, match="No such file"):
        await Sandbox(tmp_path / "s").hello()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(tmp_path / "s"))
    with pytest.raises(AwayError, match=os.strerror(errno.ECONNREFUSED)):
        await Sandbox(tmp_path / "s").hello()


async def test_a_launcher_that_is_silent_is_away_and_the_loop_went_on(tmp_path: Path) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(tick())
            with pytest.raises(AwayError, match="did not answer"):
                await Sandbox(tmp_path / "s", answer_seconds=0.1).hello()
            ticking.cancel()
    assert ticks > 10
