"""Where probes run: in a job of ours, beside a neighbour of another tenant. Needs root; podman.py is the other."""

import asyncio
import contextlib
import os
import select
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Protocol

from agent.sandbox import JobRequest, Sandbox
from tests.launched import Launched, launched

MIB = 1 << 20
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
    def run(self, command: tuple[str, ...], seconds: float) -> Ran: ...

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

    def run(self, command: tuple[str, ...], seconds: float) -> Ran:
        return asyncio.run(self._run(command, seconds))

    async def _run(self, command: tuple[str, ...], seconds: float) -> Ran:
        run = f"probe-{next(self.numbers)}"
        await self.sandbox.start(request(run, "mallory", command))
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
    with launched(runtime) as one:
        ground = Ours(one)
        asyncio.run(ground.sandbox.start(request("neighbour", "victim", ("/usr/bin/python3", "-c", NEIGHBOUR))))
        yield ground
