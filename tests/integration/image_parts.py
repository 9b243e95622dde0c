"""A store's images with a launcher that knows what the test says; for the tests of images."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.clock import system_clock
from agent.config.schema import ImagesConfig
from agent.jobs.artifact import Artifacts
from agent.sandbox import ImageState
from tests.registry import Image, image, layer

MIB = 1 << 20


def noise(count: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(count)


SMALL = image(layer({"bin/true": b"#!"}), layer({"data": noise(100_000)}))


class Store:
    """A store's images, and a launcher that knows what the test says."""

    def __init__(self, tmp_path: Path, *insecure: str, **changes: Any) -> None:
        self.state_dir = tmp_path / "state"
        self.state_dir.mkdir(exist_ok=True)
        self.config = replace(ImagesConfig(insecure_registries=insecure, stall_seconds=3.0), **changes)
        self.states: dict[str, ImageState] = {}
        self.removed: list[str] = []
        self.wanted: frozenset[str] = frozenset()
        self.said: list[str] = []
        self.restart()

    def restart(self) -> None:
        self.artifacts = Artifacts(
            self.config, self.state_dir, system_clock(), installed=self.installed, remove=self.remove,
            wanted=lambda: self.wanted, machine="x86_64", sweep_seconds=0.05,
        )  # fmt: skip

    async def installed(self) -> tuple[ImageState, ...]:
        return tuple(self.states.values())

    async def remove(self, digest: str) -> None:
        self.removed.append(digest)
        del self.states[digest]

    async def fetch(self, reference: str) -> str:
        return await self.artifacts.fetch(reference, self.said.append)

    def blob(self, digest: str) -> Path:
        return self.state_dir / "images/blobs/sha256" / digest.removeprefix("sha256:")

    def here(self) -> set[str]:
        return {f"sha256:{path.name}" for path in self.blob("").iterdir()}

    def disk_bytes(self) -> int:
        return sum(path.lstat().st_size for path in self.state_dir.rglob("*") if path.is_file())


def assert_whole(store: Store, what: Image, digest: str) -> None:
    manifest = json.loads(store.blob(digest).read_bytes())
    for blob in (manifest["config"]["digest"], *(each["digest"] for each in manifest["layers"])):
        assert store.blob(blob).read_bytes() == what.blobs[blob]
    assert list((store.state_dir / "images/fetching").iterdir()) == []
