from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.launcher.book import Book
from agent.launcher.layout import Places
from agent.launcher.policy import Policy
from agent.launcher.protocol import ImageState, LauncherError
from agent.launcher.record import Record
from agent.launcher.stock import Stock
from tests.fakes.launcher import host

IMAGE = "sha256:" + "a" * 64


def stock(tmp_path: Path, record: Record, *, images: tuple[str, ...] = ("host", "oci")) -> Stock:
    places = Places(tmp_path / "state", tmp_path / "run")
    book = Book(host(places=places), 4)
    book.learn(record)
    unpacked = SimpleNamespace(ask=lambda image: ImageState(image, "ready"), remove=lambda image: None)
    return Stock(places, Policy(0, images=images), book, unpacked)  # type: ignore[arg-type]  # the part asked for


def test_an_image_is_unpacked_only_where_root_allows_images(tmp_path: Path) -> None:
    one = Record("a", "acme", 0, "boot-1")
    assert stock(tmp_path, one).image(IMAGE).state == "ready"
    with pytest.raises(LauncherError) as refused:
        stock(tmp_path, one, images=("host",)).image(IMAGE)
    assert refused.value.code == "not-allowed"


def test_what_a_run_uses_stays(tmp_path: Path) -> None:
    one = Record("a", "acme", 0, "boot-1", "held", image=IMAGE, job_name="j", disk_bytes=1)
    mine = stock(tmp_path, one)
    with pytest.raises(LauncherError, match="in use by run a"):
        mine.remove_image(IMAGE)
    with pytest.raises(LauncherError, match="in use by run a"):
        mine.remove_disk("acme", "j")
    mine.remove_image("sha256:" + "b" * 64)
    with pytest.raises(LauncherError) as refused:
        mine.remove_disk("acme", "other")
    assert refused.value.code == "not-found"
