"""Registries that mean harm, stall or are cut off: no disk is filled, nothing half is kept, no process is left."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AwayError, RefusedError
from tests import registry as reg
from tests.integration.image_parts import MIB, SMALL, Store, assert_whole, noise
from tests.registry import image, layer
from tests.stack import until

pytestmark = [pytest.mark.integration]


class Stall:
    """Sends half a blob and then nothing."""

    what = image(layer({"x": noise(2 * MIB, 7)}))

    async def blob(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data[: len(data) // 2])
        await writer.drain()
        await asyncio.sleep(60)


class Endless(Stall):
    """Never ends a blob."""

    async def blob(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(noise(MIB))
            await writer.drain()


class Liar(Stall):
    """Sends as many bytes as it should, but others."""

    async def blob(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode() + noise(len(data), 9))
        await writer.drain()


class EndlessManifest(Stall):
    """Never ends its manifest."""

    async def manifest(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {reg.OCI_MANIFEST}\r\n\r\n".encode())
        while not writer.is_closing():
            writer.write(b" " * MIB)
            await writer.drain()


class OtherManifest(Stall):
    """Sends a good manifest, but not the one it was asked for."""

    async def manifest(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        other = SMALL.blobs[SMALL.digest]
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {reg.OCI_MANIFEST}\r\nContent-Length: {len(other)}\r\n\r\n"
        writer.write(head.encode() + other)


class hostile:  # noqa: N801  a context manager
    def __init__(self, behaviour: Any) -> None:
        self.behaviour, self.asked = behaviour, 0

    async def __aenter__(self) -> tuple[str, str]:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        host = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return host, f"{host}/shop/evil@{self.behaviour.what.digest}"

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if (first := await reader.readexactly(1)) == b"\x16":  # skopeo says hello by TLS first
                return
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split()[1]
            if "/manifests/" in path and hasattr(self.behaviour, "manifest"):
                await self.behaviour.manifest(writer, b"")
            elif path == "/v2/":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            else:
                digest = path.rpartition("/")[2]
                data = self.behaviour.what.blobs[digest]
                if "/manifests/" in path or len(data) < 10_000:
                    kind = f"Content-Type: {self.behaviour.what.media_type}\r\n"
                    writer.write(f"HTTP/1.1 200 OK\r\n{kind}Content-Length: {len(data)}\r\n\r\n".encode() + data)
                else:
                    await self.behaviour.blob(writer, data)
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.mark.parametrize("behaviour", [Endless(), EndlessManifest()])
async def test_a_registry_that_never_stops_sending_fills_no_disk(tmp_path: Path, behaviour: Any) -> None:
    async with hostile(behaviour) as (host, reference):
        store = Store(tmp_path, host)
        most, done = 0, asyncio.Event()

        async def watch() -> None:
            nonlocal most
            while not done.is_set():
                most = max(most, store.disk_bytes())
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            with pytest.raises((AwayError, RefusedError)):
                await store.fetch(reference)
            done.set()
        assert most < 8 * MIB
        assert store.here() == set()


async def test_another_manifest_than_was_pinned_is_refused_at_once(tmp_path: Path) -> None:
    async with hostile(OtherManifest()) as (host, reference):
        store = Store(tmp_path, host)
        with pytest.raises(RefusedError, match=f"hashes to {SMALL.digest}"):
            await store.fetch(reference)
        assert store.here() == set()


async def test_a_registry_that_lies_is_refused_after_three_tries(tmp_path: Path) -> None:
    async with hostile(Liar()) as (host, reference):
        store = Store(tmp_path, host)
        for _ in range(2):
            with pytest.raises(AwayError, match="something else than the image has"):
                await store.fetch(reference)
        with pytest.raises(RefusedError, match="3 times in a row"):
            await store.fetch(reference)
        assert store.here() == set()


async def test_a_registry_that_stalls_is_given_up(tmp_path: Path) -> None:
    async with hostile(Stall()) as (host, reference):
        store = Store(tmp_path, host, stall_seconds=1.0)
        with pytest.raises(AwayError, match="no byte came for 1 s"):
            await store.fetch(reference)


# --- killed in the middle --------------------------------------------------------------------------

FETCHER = """
import asyncio, sys
from pathlib import Path
from agent.clock import system_clock
from agent.config.schema import ImagesConfig
from agent.jobs.artifact import Artifacts

async def nothing():
    return ()

config = ImagesConfig(insecure_registries=(sys.argv[2],))
artifacts = Artifacts(config, Path(sys.argv[1]), system_clock(), installed=nothing, remove=None, wanted=frozenset,
                      machine="x86_64")
print(asyncio.run(artifacts.fetch(sys.argv[3], lambda said: print(said, flush=True))))
"""


class Slow(Stall):
    """The first layer at once; the second never ends as long as `held`."""

    what = image(layer({"x": noise(MIB, 10)}), layer({"y": noise(2 * MIB, 11)}))
    held = True

    def __init__(self) -> None:
        self.sent: list[int] = []

    async def blob(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        self.sent.append(len(data))
        if len(data) > 1.5 * MIB and self.held:
            await super().blob(writer, data)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()


async def test_killed_in_the_middle_it_goes_on_with_the_blobs_it_has(tmp_path: Path) -> None:
    behaviour = Slow()
    async with hostile(behaviour) as (host, reference):
        store = Store(tmp_path, host)
        argv = [sys.executable, "-c", FETCHER, str(store.state_dir), host, reference]
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
        assert process.stdout is not None
        gathered = store.state_dir / "images/fetching" / behaviour.what.digest[7:] / "layout/blobs/sha256"
        first = gathered / behaviour.what.layers[0][7:]
        while not first.exists() or not list(gathered.parents[1].glob("oci-put-blob*")):
            await asyncio.sleep(0.02)
        skopeo = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await asyncio.to_thread(until, lambda: not any(alive(pid) for pid in skopeo), what="skopeo to die with it")
        assert store.here() == set()
        behaviour.held = False
        behaviour.sent.clear()
        assert await store.fetch(reference) == behaviour.what.digest
        assert_whole(store, behaviour.what, behaviour.what.digest)
        assert behaviour.sent == [len(behaviour.what.blobs[behaviour.what.layers[1]])]


def alive(pid: str) -> bool:
    try:
        return "skopeo" in Path(f"/proc/{pid}/cmdline").read_text() and "Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


async def test_a_fetch_that_nobody_waits_for_any_more_leaves_no_process(tmp_path: Path) -> None:
    async with hostile(Stall()) as (host, reference):
        store = Store(tmp_path, host, stall_seconds=60.0)
        before = children()
        task = asyncio.get_running_loop().create_task(store.fetch(reference))
        while children() <= before:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children() <= before


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
