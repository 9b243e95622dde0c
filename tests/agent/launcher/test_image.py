import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from agent.launcher import image
from agent.launcher.image import Images, Order, _Child
from agent.launcher.layout import Host, Places
from agent.launcher.operation import MakeDirectory, Unmount
from agent.launcher.protocol import LauncherError
from agent.launcher.storage import ImageConfig, MountFile
from tests.fakes.launcher import host

NAME = "sha256:" + "a" * 64


def here(tmp_path: Path) -> Host:
    return replace(host("v2"), places=Places(tmp_path / "state", tmp_path / "run"))


def ready(tmp_path: Path, name: str = NAME) -> Path:
    """As unpack.py leaves it."""
    file = image.file(here(tmp_path).places, name)
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(8192))
    config = {"command": ["a", "b"], "env": {"A": "b"}, "cwd": "/w", "uid": 7, "gid": 8}
    (file.parent / "image.json").write_text(json.dumps({"config": config, "total_bytes": 99}))
    return file


def test_a_run_gets_the_image_read_only_in_its_own_ids() -> None:
    on = replace(host("v2"), facts=replace(host("v2").facts, idmap=True))
    steps = image.attach(NAME, "r", 3, on)
    (mount,) = (step for step in steps if not isinstance(step, MakeDirectory))
    path = image.root(on.places, "r")
    assert mount == MountFile(image.file(on.places, NAME), path, read_only=True, first_id=1879048192 + 3 * 65536)
    assert image.detach("r", on) == (Unmount(path),)


def test_a_kernel_that_maps_no_ids_shows_nobodys_files() -> None:
    off = replace(host("v2"), facts=replace(host("v2").facts, idmap=False))
    mount = image.attach(NAME, "r", 3, off)[-1]
    assert isinstance(mount, MountFile) and mount.first_id is None


def test_an_image_that_is_ready_says_what_its_author_wants_and_is_marked_as_used(tmp_path: Path) -> None:
    file = ready(tmp_path)
    os.utime(file.parent / "image.json", ns=(5, 5))
    images = Images(here(tmp_path), tmp_path / "agent", 1 << 20)
    state = images.ask(NAME)
    assert (state.state, state.total_bytes, state.last_used_unix_nano) == ("ready", 99, 5)
    assert images.config(NAME) == ImageConfig(("a", "b"), {"A": "b"}, "/w", 7, 8)
    assert images.ask(NAME).last_used_unix_nano > 5
    assert [found.image for found in images.states()] == [NAME]


def test_what_the_agent_has_not_fetched_is_absent(tmp_path: Path) -> None:
    images = Images(here(tmp_path), tmp_path / "agent", 1 << 20)
    assert images.ask(NAME).state == "absent"
    assert images.states() == []
    with pytest.raises(LauncherError, match="is not unpacked here"):
        images.config(NAME)
    with pytest.raises(LauncherError, match="no image"):
        images.remove(NAME)


def test_what_waits_and_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent says what is to be unpacked, and it may be anybody."""
    images = Images(here(tmp_path), tmp_path / "agent", 1 << 20)
    names = [f"sha256:{number:064x}" for number in range(200)]
    (tmp_path / "agent/blobs/sha256").mkdir(parents=True)
    for name in names:
        (tmp_path / "agent/blobs/sha256" / name.removeprefix("sha256:")).touch()
    monkeypatch.setattr(Images, "_look", lambda _: None)
    with pytest.raises(LauncherError) as refused:
        list(map(images.ask, names))
    assert refused.value.code == "conflict"  # which passes, for who fetches images
    assert 8 <= len(images.states()) <= 64
    images._wanted.clear()
    for name in names:
        images._wanted.append(name)
        images._finish(_Child(name, 0, os.open("/dev/null", os.O_RDONLY), {"ended": "failed", "message": "x" * 10_000}))
    left = images.states()
    assert 8 <= len(left) <= 64 and left[-1].image == names[-1]
    assert max(len(state.message) for state in left) <= 500


def test_a_removed_image_is_gone_and_half_ones_are_never_listed(tmp_path: Path) -> None:
    file = ready(tmp_path)
    file.parent.with_name("b" * 64 + ".partial").mkdir()
    images = Images(here(tmp_path), tmp_path / "agent", 1 << 20)
    assert len(images.states()) == 1
    images.remove(NAME)
    assert images.states() == [] and not file.parent.exists()


def test_an_order_names_the_place_of_what_is_not_whole_yet(tmp_path: Path) -> None:
    order = Order(NAME, here(tmp_path), tmp_path, 1, 1.0, 1)
    assert order.partial == tmp_path / "state/images" / ("a" * 64 + ".partial")
