"""Image archives that are pushed piece by piece: cuts, restarts, and what is no archive."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import RefusedError
from tests import registry as reg
from tests.integration.image_parts import SMALL, Store, assert_whole

pytestmark = [pytest.mark.integration]


async def push(store: Store, archive: Path, piece: int = 64 * 1024, cut: Callable[[int], None] = lambda _: None) -> str:
    """As edgectl does it: ask how far it is, send from there, ask until there is a digest."""
    data = archive.read_bytes()
    name = hashlib.sha256(data).digest()
    received, digest = await store.artifacts.put(name, len(data), 0, b"")
    while received < len(data):
        received, digest = await store.artifacts.put(name, len(data), received, data[received : received + piece])
        cut(received)
    while not digest:
        await asyncio.sleep(0.02)
        received, digest = await store.artifacts.put(name, len(data), received, b"")
    return digest


async def ask_for_ever(store: Store, name: bytes, total_bytes: int) -> None:
    while True:
        await store.artifacts.put(name, total_bytes, total_bytes, b"")
        await asyncio.sleep(0.02)


class Serving:
    """`run` of the artifacts, for as long as the block lasts."""

    def __init__(self, store: Store) -> None:
        self.store, self.stop = store, asyncio.Event()

    async def __aenter__(self) -> None:
        self.group = asyncio.TaskGroup()
        await self.group.__aenter__()
        self.group.create_task(self.store.artifacts.run(self.stop, lambda: None))

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        await self.group.__aexit__(None, None, None)


async def test_a_pushed_archive_goes_on_where_it_was_after_restarts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    archive = reg.write_archive(SMALL, tmp_path / "app.tar")
    seen: list[int] = []

    class Cut(Exception):  # noqa: N818  a WAN that breaks
        pass

    def cut(received: int) -> None:
        seen.append(received)
        if len(seen) in {1, 2}:
            raise Cut

    for _ in range(2):
        with pytest.raises(Cut):
            await push(store, archive, 32 * 1024, cut)
        store.restart()
    async with Serving(store):
        assert await push(store, archive, 32 * 1024, cut) == SMALL.digest
        assert seen == sorted(set(seen))
        assert_whole(store, SMALL, SMALL.digest)
        assert await store.fetch(SMALL.digest) == SMALL.digest
        assert await push(store, archive) == SMALL.digest  # told at once, nothing is sent
    assert list((store.state_dir / "images/uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "reason"), [(b"no tar at all" * 100, "no OCI archive"), (None, "does not have the sha256")]
)
async def test_an_archive_that_is_none_is_refused_and_forgotten(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    store = Store(tmp_path)
    data = content or b"x" * 1000
    name = hashlib.sha256(data).digest() if content else bytes(32)
    async with Serving(store):
        await store.artifacts.put(name, len(data), 0, data)
        with pytest.raises(RefusedError, match=reason):
            await ask_for_ever(store, name, len(data))
    assert list((store.state_dir / "images/uploads").iterdir()) == []
    assert store.here() == set()
