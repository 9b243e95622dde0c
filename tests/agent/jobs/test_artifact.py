"""agent/jobs/artifact.py without a registry. With one: tests/integration/test_images_fetched.py."""

from pathlib import Path

import pytest

from agent.clock import Clock
from agent.config.schema import ImagesConfig
from agent.errors import AwayError, RefusedError
from agent.jobs.artifact import Artifacts
from agent.sandbox import ImageState
from tests.registry import image, index, layer, write_layout

SMALL = image(layer({"a": b"1"}))
OLD = f"sha256:{'a' * 64}"


class Launcher:
    def __init__(self, *states: ImageState) -> None:
        self.states, self.removed = list(states), list[str]()
        self.wanted: frozenset[str] = frozenset()

    async def images(self) -> tuple[ImageState, ...]:
        return tuple(self.states)

    async def remove(self, digest: str) -> None:
        if digest == OLD and not self.removed:
            self.removed.append("refused once")
            raise RefusedError("CONFLICT", "a run uses it")
        self.removed.append(digest)

    def artifacts(self, tmp_path: Path, *layouts: Path, limit_bytes: int = 1 << 30) -> Artifacts:
        return Artifacts(
            ImagesConfig(layouts=layouts, limit_bytes=limit_bytes), tmp_path, Clock("boot"),
            installed=self.images, remove=self.remove, wanted=lambda: self.wanted, machine="x86_64",
        )  # fmt: skip


async def test_an_image_without_a_registry_comes_from_a_layout_and_is_found_again_without_it(tmp_path: Path) -> None:
    both = index(amd64=SMALL)
    stick = write_layout(both, tmp_path / "stick")
    said: list[str] = []
    assert await Launcher().artifacts(tmp_path, stick).fetch(both.digest, said.append) == SMALL.digest
    assert said
    assert await Launcher().artifacts(tmp_path).fetch(both.digest, said.append) == SMALL.digest


async def test_what_is_nowhere_may_come_yet(tmp_path: Path) -> None:
    with pytest.raises(AwayError, match="edgectl image push"):
        await Launcher().artifacts(tmp_path).fetch(OLD, lambda _: None)


async def test_an_image_that_a_stopping_run_still_uses_is_forgotten_at_the_next_sweep(tmp_path: Path) -> None:
    launcher = Launcher(ImageState(OLD, "ready", disk_bytes=1 << 30))
    artifacts = launcher.artifacts(tmp_path, limit_bytes=1 << 20)
    await artifacts.sweep()
    await artifacts.sweep()
    assert launcher.removed == ["refused once", OLD]


async def test_an_image_that_a_job_names_stays_whatever_it_takes(tmp_path: Path) -> None:
    launcher = Launcher(ImageState(OLD, "ready", disk_bytes=1 << 30))
    launcher.wanted = frozenset({f"r.example/app@{OLD}", "host", "nonsense"})
    await launcher.artifacts(tmp_path, limit_bytes=1 << 20).sweep()
    assert launcher.removed == []


async def test_the_launchers_word_on_an_image_comes_before_the_agents(tmp_path: Path) -> None:
    stick = write_layout(SMALL, tmp_path / "stick")
    launcher = Launcher()
    artifacts = launcher.artifacts(tmp_path, stick)
    await artifacts.fetch(SMALL.digest, lambda _: None)
    assert [view.state for view in await artifacts.views()] == ["fetched"]
    launcher.states = [ImageState(SMALL.digest, "unpacking", "half", 1, 2), ImageState(OLD, "absent")]
    assert [(view.state, view.done_bytes) for view in await artifacts.views()] == [("unpacking", 1)]
