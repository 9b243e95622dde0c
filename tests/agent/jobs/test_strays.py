"""What belongs to no job is ended and removed, and one that resists keeps no other."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from agent.errors import RefusedError
from agent.jobs import strays as module
from agent.jobs.request import job_request
from agent.jobs.strays import Strays
from agent.sandbox import DiskState, Reach
from tests.fakes.jobs import batch
from tests.fakes.sandbox import FakeSandbox
from tests.fakes.shop import until


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.005)
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.02)
    return FakeSandbox(tmp_path)


@asynccontextmanager
async def removing(sandbox, is_stray=lambda stray: True):
    one = Strays(sandbox, is_stray)
    task = asyncio.ensure_future(one.run())
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.wait([task])


def request(run):
    return job_request(run, batch("ghost"), "host", Reach(), {})


async def test_runs_sandboxes_and_disks_of_nobody_go(sandbox) -> None:
    running = await sandbox.start(request("ghost.1.1"))
    held = await sandbox.hold(request("ghost.1.2"))
    disk = sandbox.kept["acme", "ghost"] = DiskState("acme", "ghost", 1 << 22)
    async with removing(sandbox) as one:
        for stray in (disk, running, held):
            one.add(stray)
        await until(lambda: not sandbox.runs and not sandbox.kept)


async def test_a_disk_whose_job_came_back_meanwhile_is_left_alone(sandbox) -> None:
    disk = sandbox.kept["acme", "ghost"] = DiskState("acme", "ghost", 1 << 22)
    back, remove = [], sandbox.remove_disk

    async def in_use(tenant, job):
        back.append(job)
        raise RefusedError("CONFLICT", "its last run is just ending")

    sandbox.remove_disk = in_use
    async with removing(sandbox, lambda stray: not back) as one:
        one.add(disk)
        await until(lambda: back)
        sandbox.remove_disk = remove
        await until(lambda: one._queue.empty())
        await asyncio.sleep(0.05)
    assert sandbox.kept == {("acme", "ghost"): disk}


async def test_what_is_gone_already_is_no_trouble(sandbox) -> None:
    state = await sandbox.start(request("ghost.1.1"))
    sandbox.end("ghost.1.1")
    await sandbox.remove("ghost.1.1")
    async with removing(sandbox) as one:
        one.add(state)
        await until(lambda: one._queue.empty())


async def test_one_that_cannot_be_removed_keeps_no_other(sandbox) -> None:
    stubborn, other = [await sandbox.start(request(f"ghost.1.{n}")) for n in (1, 2)]
    remove, refused = sandbox.remove, []

    async def remove_most(run):
        if run == "ghost.1.1" and len(refused) < 2:
            refused.append(run)
            raise RefusedError("INTERNAL", "device or resource busy")
        await remove(run)

    sandbox.remove = remove_most
    async with removing(sandbox) as one:
        one.add(stubborn)
        one.add(other)
        await until(lambda: "ghost.1.2" not in sandbox.runs)
        await until(lambda: not sandbox.runs)
    assert len(refused) == 2
