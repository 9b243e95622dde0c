"""Where probes run: in a job of ours, beside a neighbour of another tenant. Needs root; podman.py is the other."""

import asyncio
import base64
import contextlib
import os
import select
import socket
import threading
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Protocol

from agent.launcher.protocol import Destination, NetworkRequest, Reach
from agent.sandbox import JobRequest, Sandbox
from tests.launched import Launched, launched
from tests.netns import WORLD, store
from tests.sandbox.probes.verdict import CANARY, CANARY_PORT

MIB = 1 << 20
METADATA = "169.254.169.254"
_ALLOWED = NetworkRequest(Reach((Destination(f"{WORLD}/32", 90, "tcp"),)))
NEIGHBOUR = (Path(__file__).parent / "probes" / "neighbour.py").read_text()


@dataclass(frozen=True)
class Ran:
    text: str  # what it said, of both streams
    exit_code: int | None  # 128+n for signal n; None: it had to be stopped
    oom_killed: bool
    log_bytes: int  # on the disk of the host

    def verdicts(self) -> dict[str, str]:
        """Of each probe that came to one."""
        lines = (line.split("\t", 1) for line in self.text.splitlines())
        return {words[0]: words[1] for words in lines if len(words) == 2}


class Ground(Protocol):
    def run(self, command: tuple[str, ...], seconds: float, file: str) -> Ran:
        """`file` of probes: those of "disk" get a disk and a secret, those of "network" a network."""
        ...

    def neighbour_said(self) -> str:
        """The log of the neighbour, in whole."""
        ...

    def complaints(self) -> list[str]:
        """What is wrong with what keeps the jobs: the launcher does not answer, a process is left."""
        ...


def plain(log: str) -> str:
    """The job's own words out of conmon's lines `TIME STREAM F|P TEXT`."""
    parts = [words for line in log.splitlines(keepends=True) if len(words := line.split(" ", 3)) == 4]
    return "".join(text.rstrip("\n") if mark == "P" else text for _, _, mark, text in parts)


@dataclass
class Ours:
    one: Launched
    numbers: "count[int]" = field(default_factory=count)

    @property
    def sandbox(self) -> Sandbox:
        return Sandbox(self.one.socket)

    def run(self, command: tuple[str, ...], seconds: float, file: str) -> Ran:
        return asyncio.run(self._run(command, seconds, file))

    async def _run(self, command: tuple[str, ...], seconds: float, file: str) -> Ran:
        run = f"probe-{next(self.numbers)}"
        wanted = request(run, "mallory", command)
        if file == "network":
            wanted = replace(wanted, network=_ALLOWED)
        if file == "disk":
            wanted = replace(wanted, disk_bytes=16 * MIB, secrets={"token": base64.b64encode(b"s3cret").decode()})
        await self.sandbox.start(wanted)
        ended = await self._over(run, seconds)
        if not ended:
            await self.sandbox.signal(run, "KILL")
            assert await self._over(run, 30), f"{run} outlives SIGKILL"
        state = await self.sandbox.state(run)
        log = await self._log(run)
        await self.sandbox.remove(run)
        return Ran(plain(log), state.exit_code if ended else None, state.oom_killed, len(log))

    async def _over(self, run: str, seconds: float) -> bool:
        _, fd = await self.sandbox.watch(run)
        if fd is None:
            return True
        try:
            return bool((await asyncio.to_thread(select.select, [fd], [], [], seconds))[0])
        finally:
            os.close(fd)

    async def _log(self, run: str) -> str:
        with os.fdopen(await self.sandbox.open_log(run), errors="replace") as log:
            return log.read()

    def facts(self) -> str:
        facts = asyncio.run(self.sandbox.hello())
        return f"{facts.runtime} {facts.runtime_version}, cgroup {facts.cgroup}"

    def neighbour_said(self) -> str:
        return plain(asyncio.run(self._log("neighbour")))

    def complaints(self) -> list[str]:
        return asyncio.run(self._complaints())

    async def _complaints(self) -> list[str]:
        async with asyncio.timeout(5):
            await self.sandbox.hello()
            phases = {state.run: state.phase for state in await self.sandbox.list_runs()}
        if phases != {"neighbour": "running"}:
            return [f"runs: {phases}"]
        return []


def request(run: str, tenant: str, command: tuple[str, ...]) -> JobRequest:
    return JobRequest(
        run=run, tenant=tenant, job=tenant, image="host", command=command, cpu_milli=500, memory_bytes=128 * MIB,
        pids=64, log_bytes=MIB, tmp_bytes=16 * MIB,
    )  # fmt: skip


@contextlib.contextmanager
def ours(runtime: str = "auto") -> Generator[Ours]:
    with town() as netns, launched(runtime, netns=str(netns)) as one:
        ground = Ours(one)
        secrets = {CANARY: base64.b64encode(CANARY.encode()).decode()}
        neighbour = request("neighbour", "victim", ("/usr/bin/python3", "-c", NEIGHBOUR))
        asyncio.run(ground.sandbox.start(replace(neighbour, network=NetworkRequest(), secrets=secrets)))
        yield ground


@contextlib.contextmanager
def town() -> Generator[Path]:
    """Networks about the jobs (tests/netns.py), with servers that a probe could reach; the store's namespace."""
    with store() as shop, contextlib.ExitStack() as open_now:
        shop.world.run("ip", "addr", "add", f"{METADATA}/32", "dev", "lo")
        for space, port in (
            (shop.home, CANARY_PORT),
            (shop.lan, CANARY_PORT),
            *((shop.world, n) for n in (80, 90, 91)),
        ):
            open_now.enter_context(space.listening(port))
        names = open_now.enter_context(shop.world.open(socket.SOCK_DGRAM))
        names.bind((WORLD, 53))  # an answer has to come from where it was asked
        names.settimeout(None)
        threading.Thread(target=_echo, args=(names,), daemon=True).start()
        yield shop.home.path


def _echo(names: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed
        while True:
            names.sendto(*names.recvfrom(1500))
