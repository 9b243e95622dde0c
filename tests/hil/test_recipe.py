"""An image is made again when, and only when, something that goes into it has changed."""

import os
import time
from pathlib import Path

import pytest

from hil.image import base, cache, disk, recipe


def test_the_digest_follows_contents_and_names(tmp_path: Path) -> None:
    folder = tmp_path / "overlay"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = recipe.digest("bookworm", folder)
    assert recipe.digest("bookworm", folder) == first
    assert recipe.digest("trixie", folder) != first
    (folder / "a").write_text("2")
    second = recipe.digest("bookworm", folder)
    (folder / "a").rename(folder / "b")
    assert len({first, second, recipe.digest("bookworm", folder)}) == 3


def test_what_python_leaves_behind_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = recipe.digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/a.pyc").write_text("x")
    assert recipe.digest(tmp_path) == first


def test_arm64_boards_share_a_base_and_every_board_has_a_disk_of_its_own() -> None:
    bases = {name: base.key(board.base) for name, board in recipe.BOARDS.items()}
    assert bases["qemu-arm64"] == bases["qemu-rpi3b"] != bases["qemu-x86"]
    assert len({disk.key(bases[name], board) for name, board in recipe.BOARDS.items()}) == len(recipe.BOARDS)


def test_an_sd_card_of_qemu_is_a_power_of_two() -> None:
    size = recipe.BOARDS["qemu-rpi3b"].disk_bytes
    assert size & (size - 1) == 0


def test_an_image_is_built_once_and_goes_only_when_nobody_used_it_for_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def note(what: str) -> None:
        built.append(what)

    monkeypatch.setattr(base, "build", lambda made_of, folder: note(made_of.architecture))
    monkeypatch.setattr(disk, "build", lambda board, of, folder: note(f"{board.device_tree} on {of.name[:4]}"))
    monkeypatch.setattr(cache.foreign, "prepare", lambda architecture: None)
    other = cache.image(tmp_path, "qemu-arm64")
    pi = cache.image(tmp_path, "qemu-rpi3b")
    assert built == ["arm64", " on base", "broadcom/bcm2837-rpi-3-b.dtb on base"]
    week = time.time() - 7 * 86400
    os.utime(other, (week, week))
    os.utime(pi, (week, week))
    assert cache.image(tmp_path, "qemu-rpi3b") == pi
    cache.image(tmp_path, "qemu-x86")
    assert (pi.exists(), other.exists()) == (True, False)
