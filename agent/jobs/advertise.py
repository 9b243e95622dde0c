"""Published ports that have a service name are found on the store's network by DNS-SD, while their job runs.

A child process speaks it (dnssd_child.py); there is none while nothing is advertised.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.jobs.job import Job
from agent.model import Health, JobState

log = logging.getLogger(__name__)

_CHILD = (sys.executable, "-I", str(Path(__file__).with_name("dnssd_child.py")))
_RETRY_SECONDS = 1.0
_RETRY_MAX_SECONDS = 60.0
_SETTLED_SECONDS = 60.0  # a child that lived this long is started again at once
_GOODBYE_SECONDS = 5.0
_ENDED_EARLY = (BrokenPipeError, ConnectionResetError, ProcessLookupError)

Advertised = dict[str, Any]  # as dnssd_child.py takes it


def advertised(job: Job, node_name: str) -> tuple[Advertised, ...]:
    """What a client would find answering: not before the job's check has passed, if it has one."""
    network = job.spec.network
    if network is None or job.state is not JobState.RUNNING:
        return ()
    if job.spec.health is not None and job.health is not Health.HEALTHY:
        return ()
    return tuple(
        {
            "service": each.service,
            "protocol": each.protocol,
            "name": f"{job.spec.id} on {node_name}",
            "port": each.port,
            "txt": dict(each.txt),
        }
        for each in network.publish
        if each.service
    )


class Advertiser:
    def __init__(self, node_name: str, interfaces: Iterable[str], child: Sequence[str] = _CHILD) -> None:
        self._node_name = node_name
        self._interfaces = list(interfaces)
        self._command = child
        self._services: dict[str, tuple[Advertised, ...]] = {}
        self._changed = asyncio.Event()

    def follow(self, job_id: str, job: Job | None) -> None:
        """The job has changed; None = it is forgotten."""
        wanted = advertised(job, self._node_name) if job is not None else ()
        if wanted == self._services.get(job_id, ()):
            return
        if wanted:
            self._services[job_id] = wanted
        else:
            del self._services[job_id]
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop, wait = asyncio.get_running_loop(), _RETRY_SECONDS
        while True:
            await self._changed.wait()
            if not self._services:
                self._changed.clear()
                continue
            began = loop.time()
            if await self._advertise():
                continue
            if loop.time() - began >= _SETTLED_SECONDS:
                wait = _RETRY_SECONDS
            log.warning("nothing is advertised for a moment: the speaker ended", extra={"again_seconds": wait})
            await asyncio.sleep(wait)
            wait = min(_RETRY_MAX_SECONDS, wait * 2)
            self._changed.set()

    async def _advertise(self) -> bool:
        """One child's life; True if it was ended because there is nothing left to advertise."""
        try:
            child = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={"LC_ALL": "C.UTF-8"},
            )
        except OSError as error:
            log.warning("can't start the DNS-SD speaker", extra={"error": str(error)})
            return False
        try:
            async with asyncio.TaskGroup() as group:
                feeding = group.create_task(self._feed(child), name="jobs.advertise.feed")
                await _listen(child)
                feeding.cancel()
            return not self._services
        finally:
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    child.kill()
            await child.wait()

    async def _feed(self, child: asyncio.subprocess.Process) -> None:
        """All that is to be advertised, each time it changes. Once that is nothing, the child is to end."""
        stdin = child.stdin
        if stdin is None:
            return
        with suppress(*_ENDED_EARLY):
            while self._services:
                self._changed.clear()
                services = [each for job_id in sorted(self._services) for each in self._services[job_id]]
                wanted = {"host": self._node_name, "interfaces": self._interfaces, "services": services}
                stdin.write(json.dumps(wanted).encode() + b"\n")
                await stdin.drain()
                await self._changed.wait()
            stdin.close()
            await asyncio.sleep(_GOODBYE_SECONDS)
            child.kill()


async def _listen(child: asyncio.subprocess.Process) -> None:
    """Until the child ends."""
    if child.stdout is not None:
        async for line in child.stdout:
            log.info("advertised on the store's network", extra={"now": line.decode(errors="replace").strip()})
