"""agent/jobs/images/sources.py, of layout directories. Registries: tests/integration/test_images_fetched.py."""

from pathlib import Path

import pytest

from agent.errors import CorruptError, RefusedError
from agent.jobs.images.blobs import Blobs
from agent.jobs.images.sources import Layout, look
from tests.registry import Image, image, index, layer, sha256, write_layout

SMALL = image(layer({"a": b"1"}), layer({"b": b"2"}))
ROOMY = 1 << 20


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path / "images")
    made.prepare()
    return made


def layout(what: Image, tmp_path: Path, blobs: Blobs, *, move: bool = False) -> Layout:
    return Layout(write_layout(what, tmp_path / "layout"), blobs, move)


@pytest.mark.parametrize("move", [True, False])
async def test_a_layout_gives_its_image_and_keeps_its_own_unless_it_is_ours(
    tmp_path: Path, blobs: Blobs, move: bool
) -> None:
    source, said = layout(SMALL, tmp_path, blobs, move=move), list[int]()
    found = await look(source, SMALL.digest, "x86_64", ROOMY)
    assert found is not None
    assert await source.bring(found, said.append) == SMALL.digest
    assert said[-1] <= found.manifest.total_bytes
    assert blobs.image(SMALL.digest) == found.manifest
    assert (tmp_path / "layout/blobs/sha256" / SMALL.layers[0][7:]).exists() != move


async def test_an_index_leads_to_this_machines_image(tmp_path: Path, blobs: Blobs) -> None:
    both = index(amd64=SMALL, arm64=image(layer({"arm": b"1"}), architecture="arm64"))
    found = await look(layout(both, tmp_path, blobs), both.digest, "x86_64", ROOMY)
    assert found is not None and found.digest == SMALL.digest


async def test_an_index_within_an_index_is_refused(tmp_path: Path, blobs: Blobs) -> None:
    inner = index(amd64=SMALL)
    outer = index(amd64=inner)
    with pytest.raises(RefusedError, match="an index within an index"):
        await look(layout(outer, tmp_path, blobs), outer.digest, "x86_64", ROOMY)


async def test_what_is_not_there_is_nothing(tmp_path: Path, blobs: Blobs) -> None:
    source = layout(SMALL, tmp_path, blobs)
    assert await look(source, sha256(b"other"), "x86_64", ROOMY) is None
    assert await look(Layout(tmp_path / "none", blobs), SMALL.digest, "x86_64", ROOMY) is None
    (tmp_path / "layout/blobs/sha256" / SMALL.manifest["config"]["digest"][7:]).unlink()
    assert await look(source, SMALL.digest, "x86_64", ROOMY) is None


async def test_a_configuration_that_was_exchanged_is_found_out(tmp_path: Path, blobs: Blobs) -> None:
    source = layout(SMALL, tmp_path, blobs)
    (tmp_path / "layout/blobs/sha256" / SMALL.manifest["config"]["digest"][7:]).write_bytes(b"{}")
    with pytest.raises(CorruptError, match="not the one that its manifest names"):
        await look(source, SMALL.digest, "x86_64", ROOMY)


async def test_dockers_format_in_a_layout_is_refused_with_the_remedy(tmp_path: Path, blobs: Blobs) -> None:
    what = image(layer({"a": b"1"}), docker=True)
    source = layout(what, tmp_path, blobs)
    found = await look(source, what.digest, "x86_64", ROOMY)
    assert found is not None
    with pytest.raises(RefusedError, match="use skopeo copy"):
        await source.bring(found, lambda _: None)
