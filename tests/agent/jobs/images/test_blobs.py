"""agent/jobs/images/blobs.py."""

import hashlib
import os
from pathlib import Path

import pytest

from agent.errors import CorruptError, StorageError
from agent.jobs.images.blobs import Blobs
from agent.jobs.images.manifest import Blob, Manifest, read
from tests.registry import Image, image, layer

ONE = image(layer({"shared": b"s"}), layer({"one": b"1"}))
TWO = image(layer({"shared": b"s"}), layer({"two": b"2"}))


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path)
    made.prepare()
    return made


def quiet(_: int) -> None:
    pass


async def bring(blobs: Blobs, what: Image, tmp_path: Path) -> Manifest:
    manifest = read(what.blobs[what.digest], what.digest)
    assert isinstance(manifest, Manifest)
    for blob in manifest.blobs:
        (tmp_path / "in").write_bytes(what.blobs[f"sha256:{blob.hex}"])
        await blobs.adopt(blob, tmp_path / "in", move=False, moved=quiet)
    blobs.seal(what.blobs[what.digest])
    blobs.resolve(what.digest[7:], what.digest)
    return manifest


def names(tmp_path: Path) -> set[str]:
    return {f"sha256:{path.name}" for path in (tmp_path / "blobs/sha256").iterdir()}


async def test_an_image_is_here_only_when_all_of_it_is(blobs: Blobs, tmp_path: Path) -> None:
    manifest = await bring(blobs, ONE, tmp_path)
    assert blobs.image(ONE.digest) == manifest
    part = tmp_path / "blobs/sha256" / manifest.layers[0].hex
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    assert blobs.image(ONE.digest) is None
    part.unlink()
    assert blobs.image(ONE.digest) is None


async def test_a_damaged_manifest_is_not_here_and_goes(blobs: Blobs, tmp_path: Path) -> None:
    await bring(blobs, ONE, tmp_path)
    (tmp_path / "blobs/sha256" / ONE.digest[7:]).write_bytes(b"{}")
    assert blobs.image(ONE.digest) is None
    assert ONE.digest not in names(tmp_path)


@pytest.mark.parametrize("move", [True, False])
@pytest.mark.parametrize("content", [b"12345", b"1234", b"123456", b""])
async def test_only_what_hashes_to_its_name_comes_in(blobs: Blobs, tmp_path: Path, content: bytes, move: bool) -> None:
    blob = Blob(hashlib.sha256(b"54321").hexdigest(), 5)
    source = tmp_path / "in"
    source.write_bytes(content)
    with pytest.raises(CorruptError):
        await blobs.adopt(blob, source, move=move, moved=quiet)
    assert names(tmp_path) == set()
    assert source.exists() != move
    source.write_bytes(b"54321")
    await blobs.adopt(blob, source, move=move, moved=quiet)
    assert names(tmp_path) == {f"sha256:{blob.hex}"}
    assert source.exists() != move


async def test_a_link_or_a_pipe_is_not_followed(blobs: Blobs, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"54321")
    blob = Blob(hashlib.sha256(b"54321").hexdigest(), 5)
    (tmp_path / "link").symlink_to(secret)
    with pytest.raises(StorageError):
        await blobs.adopt(blob, tmp_path / "link", move=False, moved=quiet)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorruptError):
        await blobs.adopt(blob, tmp_path / "pipe", move=False, moved=quiet)
    assert names(tmp_path) == set()


async def test_dropping_an_image_leaves_what_another_shares(blobs: Blobs, tmp_path: Path) -> None:
    await bring(blobs, ONE, tmp_path)
    two = await bring(blobs, TWO, tmp_path)
    blobs.drop(ONE.digest)
    assert names(tmp_path) == set(TWO.blobs)
    assert blobs.image(TWO.digest) == two
    blobs.drop(TWO.digest)
    assert names(tmp_path) == set()


async def test_what_belongs_to_no_image_is_swept(blobs: Blobs, tmp_path: Path) -> None:
    await bring(blobs, ONE, tmp_path)
    (tmp_path / "blobs/sha256" / ("0" * 64)).write_bytes(b"orphan")
    blobs.sweep(blobs.digests())
    assert names(tmp_path) == set(ONE.blobs)


def test_half_written_files_go_at_the_start(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "blobs/sha256/.abc-0").write_bytes(b"half")
    blobs.prepare()
    assert names(tmp_path) == set()


def test_room_that_is_missing_is_said_in_bytes(blobs: Blobs) -> None:
    blobs.check_room(1)
    with pytest.raises(StorageError, match=f"{1 << 60} bytes are needed"):
        blobs.check_room(1 << 60)


def test_what_stands_for_what_survives_and_can_be_forgotten(blobs: Blobs, tmp_path: Path) -> None:
    blobs.resolve("a" * 64, ONE.digest)
    again = Blobs(tmp_path)
    assert again.resolutions() == {"a" * 64: ONE.digest}
    again.forget("a" * 64)
    assert again.resolved("a" * 64) == ""
