import hashlib
import os
from pathlib import Path

import pytest

from agent.launcher.blobs import AbsentError, copy, opened, read
from agent.launcher.manifest import Blob, ImageError


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "blobs/sha256").mkdir(parents=True)
    return tmp_path


def put(store: Path, data: bytes) -> Blob:
    digits = hashlib.sha256(data).hexdigest()
    (store / "blobs/sha256" / digits).write_bytes(data)
    return Blob(f"sha256:{digits}", len(data))


def test_a_blob_is_what_its_digest_says(store: Path, tmp_path: Path) -> None:
    blob, parts = put(store, b"x" * 3_000_000), list[int]()
    with opened(store) as directory:
        assert read(directory, blob.digest, "it", 3_000_000) == b"x" * 3_000_000
        copy(directory, blob, "it", tmp_path / "out", parts.append)
    assert (tmp_path / "out").read_bytes() == b"x" * 3_000_000
    assert sum(parts) == 3_000_000 and len(parts) > 1


def test_a_store_or_a_blob_that_is_not_there_is_absent(store: Path, tmp_path: Path) -> None:
    with pytest.raises(AbsentError), opened(tmp_path / "nowhere"):
        pass
    with opened(store) as directory, pytest.raises(AbsentError, match="it is not here yet"):
        read(directory, "sha256:" + "0" * 64, "it", 10)


def test_no_link_is_followed_and_no_fifo_waited_for(store: Path, tmp_path: Path) -> None:
    blob = put(store, b"x")
    path = store / "blobs/sha256" / blob.digits
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with opened(store) as directory:
        with pytest.raises(ImageError, match="it can't be read"):
            read(directory, blob.digest, "it", 10)
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(ImageError, match="it is not a file"):
            read(directory, blob.digest, "it", 10)
        path.unlink()
        path.mkdir()
        with pytest.raises(ImageError, match="it is not a file"):
            read(directory, blob.digest, "it", 10)
    (tmp_path / "link").symlink_to(store)
    with pytest.raises(ImageError, match="not a layout's directory"), opened(tmp_path / "link"):
        pass


def test_bytes_are_counted_as_they_are_read(store: Path, tmp_path: Path) -> None:
    blob = put(store, b"12345")
    with opened(store) as directory:
        with pytest.raises(ImageError, match="it has more than 4 bytes"):
            read(directory, blob.digest, "it", 4)
        with pytest.raises(ImageError, match="more than the 4 bytes that the manifest says"):
            copy(directory, Blob(blob.digest, 4), "it", tmp_path / "a", lambda _: None)
        with pytest.raises(ImageError, match="it is cut short: 5 of 6 bytes"):
            copy(directory, Blob(blob.digest, 6), "it", tmp_path / "b", lambda _: None)


def test_other_bytes_under_a_digest_are_refused(store: Path, tmp_path: Path) -> None:
    blob = put(store, b"12345")
    (store / "blobs/sha256" / blob.digits).write_bytes(b"12346")
    with opened(store) as directory:
        with pytest.raises(ImageError, match="is not what its digest says"):
            read(directory, blob.digest, "it", 10)
        with pytest.raises(ImageError, match="is not what its digest says"):
            copy(directory, blob, "it", tmp_path / "a", lambda _: None)
