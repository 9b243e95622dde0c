"""The unprivileged side of the launcher: one connection a request, never a blocked loop."""

import asyncio
import json
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.errors import AwayError, EdgeError, RefusedError, StorageError
from agent.launcher.protocol import (
    MAX_PACKET,
    Checked,
    CheckRequest,
    Destination,
    DiskState,
    HostFacts,
    ImageState,
    JobRequest,
    NetworkRequest,
    Phase,
    PublishedPort,
    Reach,
    RunState,
    Signal,
    Usage,
    to_json,
)

__all__ = [
    "CheckRequest", "Checked", "Destination", "DiskState", "HostFacts", "ImageState", "JobRequest", "NetworkRequest",
    "Phase", "PublishedPort", "Reach", "RunState", "Sandbox", "Signal", "Usage",
]  # fmt: skip

# A start waits for the kernel to make seven namespaces on a slow, busy box; the launcher itself gives up after 60 s.
_ANSWER_SECONDS = 90.0

_REASONS = {
    "bad-request": "BAD_REQUEST",
    "not-allowed": "PERMISSION_DENIED",
    "not-found": "NOT_FOUND",
    "no-room": "NO_ROOM",
    "conflict": "CONFLICT",
}


class Sandbox:
    """Asks the launcher at `socket`.

    Every method raises AwayError when the launcher can't be reached or dies before it answers, RefusedError when it
    refuses (INTERNAL: this machine can't do it) and StorageError when its disk is full or failing.
    """

    def __init__(self, socket: Path, *, answer_seconds: float = _ANSWER_SECONDS) -> None:
        self._path = socket
        self._answer_seconds = answer_seconds

    async def hello(self) -> HostFacts:
        return HostFacts(**await self._value({"op": "hello"}))

    async def start(self, request: JobRequest) -> RunState:
        """The state of the run; asked again for a run that it knows, the launcher starts nothing.

        A run that is held goes on from there when the request is the very same, and is made anew otherwise.
        """
        return RunState(**await self._value({"op": "start", **to_json(request)}))

    async def hold(self, request: JobRequest) -> RunState:
        """Make the sandbox, and leave its job for a later `start`. A run that is known already is left as it is."""
        return RunState(**await self._value({"op": "hold", **to_json(request)}))

    async def list_runs(self) -> tuple[RunState, ...]:
        return tuple([RunState(**one) for one in await self._all("list", "runs", lambda one: str(one["run"]))])

    async def state(self, run: str) -> RunState:
        return RunState(**await self._value({"op": "state", "run": run}))

    async def watch(self, run: str) -> tuple[RunState, int | None]:
        """The state, and a pidfd (the caller's to close) that is readable when the run is over; None if it is."""
        value, fd = await self._ask({"op": "watch", "run": run})
        return RunState(**value), fd

    async def signal(self, run: str, name: Signal) -> None:
        """KILL to everything in the run, others to the job's init, which passes them on. Nothing if it is over."""
        await self._value({"op": "signal", "run": run, "signal": name})

    async def check(self, run: str) -> Checked:
        """The health check that the run was started with, once; takes up to its timeout_seconds."""
        return Checked(**await self._value({"op": "check", "run": run}))

    async def reach(self, run: str, reach: Reach) -> None:
        """What the run may reach from now on, in place of what it might."""
        await self._value({"op": "reach", "run": run, "reach": to_json(reach)})

    async def usage(self, run: str) -> Usage:
        return Usage(**await self._value({"op": "usage", "run": run}))

    async def open_log(self, run: str) -> int:
        """A read-only descriptor, the caller's to close.

        Lines are "<RFC 3339 time> stdout|stderr F|P <text>", P for a part of a line. When the log reaches the run's
        log_bytes a new file takes its place: st_nlink of this one is then 0, and it has to be opened again.
        """
        _, fd = await self._ask({"op": "logs", "run": run})
        if fd is None:
            raise AwayError("the launcher sent no descriptor")
        return fd

    async def remove(self, run: str) -> None:
        """Forget a run that is over: its log, its usage, its range of user ids."""
        await self._value({"op": "remove", "run": run})

    async def image(self, image: str) -> ImageState:
        """Its state; what the agent has fetched begins to be unpacked, and what failed is tried again."""
        return ImageState(**await self._value({"op": "image", "image": image}))

    async def images(self) -> tuple[ImageState, ...]:
        return tuple([ImageState(**one) for one in await self._all("images", "images", lambda one: str(one["image"]))])

    async def remove_image(self, image: str) -> None:
        """RefusedError CONFLICT while a run uses it."""
        await self._value({"op": "remove-image", "image": image})

    async def disks(self) -> tuple[DiskState, ...]:
        found = await self._all("disks", "disks", lambda one: f"{one['tenant']}/{one['job']}")
        return tuple([DiskState(**one) for one in found])

    async def remove_disk(self, tenant: str, job: str) -> None:
        """Everything that the job has kept. RefusedError CONFLICT while a run uses it."""
        await self._value({"op": "remove-disk", "tenant": tenant, "job": job})

    async def _all(self, op: str, what: str, name: Callable[[Mapping[str, Any]], str]) -> list[dict[str, Any]]:
        """Of an answer that comes in parts, each behind what the last one ended with."""
        found: list[dict[str, Any]] = []
        more = True
        while more:
            value = await self._value({"op": op, "after": name(found[-1]) if found else ""})
            found += value[what]
            more = value.get("more", False)  # a launcher that is yet to be renewed says all at once
        return found

    async def _value(self, request: Mapping[str, Any]) -> dict[str, Any]:
        value, fd = await self._ask(request)
        if fd is not None:
            os.close(fd)
        return value

    async def _ask(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
        packet = json.dumps(request).encode()
        if len(packet) > MAX_PACKET:
            raise RefusedError("BAD_REQUEST", f"a request has at most {MAX_PACKET} bytes")
        try:
            async with asyncio.timeout(self._answer_seconds):
                data, fd = await self._exchange(packet)
        except TimeoutError as error:
            raise AwayError(f"the launcher did not answer within {self._answer_seconds:.0f} s") from error
        except PermissionError as error:
            raise RefusedError("PERMISSION_DENIED", f"{self._path}: {error.strerror}") from error
        except OSError as error:
            raise AwayError(f"launcher at {self._path}: {error.strerror}") from error
        if not data:
            raise AwayError("the launcher ended in the middle of a request")
        answer = json.loads(data)
        if "ok" in answer:
            return answer["ok"], fd
        raise _failure(answer["error"])

    async def _exchange(self, packet: bytes) -> tuple[bytes, int | None]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_PACKET)
            await _connect(connection, self._path)
            await asyncio.get_running_loop().sock_sendall(connection, packet)
            while True:
                try:
                    return _receive(connection)
                except BlockingIOError:
                    await _readable(connection)


def _receive(connection: socket.socket) -> tuple[bytes, int | None]:
    """One packet and the descriptor that rode on it, closed in children of ours.

    Not socket.recv_fds: the one of Debian 12's Python 3.11.2 forgets its flags.
    """
    room = socket.CMSG_SPACE(struct.calcsize("i"))
    data, ancillary, _, _ = connection.recvmsg(MAX_PACKET * 2, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            return data, struct.unpack("i", payload[: struct.calcsize("i")])[0]
    return data, None


async def _connect(connection: socket.socket, path: Path) -> None:
    """A unix socket whose backlog is full says EAGAIN, and gives nothing to wait for."""
    while True:
        try:
            connection.connect(str(path))
        except BlockingIOError:
            await asyncio.sleep(0.02)
        else:
            return


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def arrived() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(connection, arrived)
    try:
        await ready
    finally:
        loop.remove_reader(connection)


def _failure(error: Mapping[str, str]) -> EdgeError:
    if error["code"] == "host" and error["field"] == "disk":
        return StorageError(error["message"])
    return RefusedError(_REASONS.get(error["code"], "INTERNAL"), error["message"])
