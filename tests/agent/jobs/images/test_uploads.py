"""agent/jobs/images/uploads.py. Whole archives: tests/integration/test_images_pushed.py."""

import os
from pathlib import Path

import pytest

from agent.errors import RefusedError, StorageError
from agent.jobs.images.blobs import Blobs
from agent.jobs.images.uploads import Uploads

NAME = bytes(32)


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    blobs = Blobs(tmp_path)
    blobs.prepare()
    made = Uploads(tmp_path / "uploads", blobs, "x86_64", 1000)
    made.prepare()
    return made


async def test_what_has_arrived_is_said_and_survives_a_restart(uploads: Uploads, tmp_path: Path) -> None:
    assert await uploads.put(NAME, 100, 0, b"") == 0
    assert await uploads.put(NAME, 100, 0, b"12345") == 5
    again = Uploads(tmp_path / "uploads", Blobs(tmp_path), "x86_64", 1000)
    again.prepare()
    assert await again.put(NAME, 100, 5, b"") == 5
    assert await again.put(NAME, 100, 5, b"6") == 6
    assert (tmp_path / "uploads" / NAME.hex()).read_bytes() == b"123456"
    assert not again.busy


@pytest.mark.parametrize(
    ("total", "offset", "data", "reason"),
    [
        (100, 0, b"12345", "5 bytes have arrived"),
        (100, 6, b"1", "5 bytes have arrived"),
        (100, 5, bytes(96), "beyond"),
        (4, 5, b"", "more than 4"),
        (1001, 5, b"", "max_image_bytes"),
        (0, 0, b"", "max_image_bytes"),
        (100, 5, bytes(128 * 1024 + 1), "a piece has at most"),
    ],
)
async def test_pieces_out_of_order_or_too_many_are_refused(
    uploads: Uploads, total: int, offset: int, data: bytes, reason: str
) -> None:
    await uploads.put(NAME, 100, 0, b"12345")
    with pytest.raises(RefusedError, match=reason):
        await uploads.put(NAME, total, offset, data)
    assert await uploads.put(NAME, 100, 5, b"6") == 6


async def test_a_name_that_is_no_sha256_is_refused(uploads: Uploads) -> None:
    with pytest.raises(RefusedError, match="32 bytes"):
        await uploads.put(b"short", 100, 0, b"")


async def test_of_too_many_archives_the_one_that_was_given_up_goes(uploads: Uploads, tmp_path: Path) -> None:
    for number in range(5):
        await uploads.put(bytes([number]) * 32, 100, 0, b"x")
        os.utime(tmp_path / "uploads" / (bytes([number]) * 32).hex(), (number, number))
    assert sorted(path.name[:2] for path in (tmp_path / "uploads").iterdir()) == ["01", "02", "03", "04"]
    uploads.forget_older(3.5)
    assert [path.name[:2] for path in (tmp_path / "uploads").iterdir()] == ["04"]


async def test_an_archive_that_does_not_fit_is_refused_at_its_first_piece(
    uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*real[:4], 1, *real[5:])))
    with pytest.raises(StorageError, match="200 bytes are needed"):
        await uploads.put(NAME, 100, 0, b"x")
    assert list((tmp_path / "uploads").iterdir()) == []
