"""How a service waits: for its end, and no longer than it was told."""

import asyncio

from agent.runtime.service import pause


async def test_a_pause_ends_when_it_is_told_to_stop() -> None:
    stop = asyncio.Event()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiting = group.create_task(pause(stop, 3600))
        await asyncio.sleep(0)
        assert not waiting.done()
        stop.set()


async def test_a_pause_ends_by_itself_and_says_nothing() -> None:
    stop = asyncio.Event()
    await pause(stop, 0.001)
    assert not stop.is_set()
