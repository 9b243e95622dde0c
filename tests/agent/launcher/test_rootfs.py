import os
import stat
from pathlib import Path

import pytest

from agent.launcher import rootfs
from agent.launcher.manifest import Author, ImageError
from agent.launcher.storage import STORED_BASE, ImageConfig

given: dict[str, tuple[int, int]] = {}


@pytest.fixture(autouse=True)
def _owners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Giving files away takes root: who gets what is written down instead."""

    def fchown(fd: int, uid: int, gid: int) -> None:
        given[Path(f"/proc/self/fd/{fd}").readlink().name] = (uid - STORED_BASE, gid - STORED_BASE)

    given.clear()
    monkeypatch.setattr(os, "fchown", fchown)


def finish(tree: Path, user: str = "", cwd: str = "/") -> ImageConfig:
    fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return rootfs.finish(fd, Author((), ("c",), {"A": "b"}, cwd, user))
    finally:
        os.close(fd)


def test_an_empty_tree_gets_every_mount_point(tmp_path: Path) -> None:
    found = finish(tmp_path)
    assert found == ImageConfig(("c",), {"A": "b"}, "/", 0, 0)
    assert {path.name for path in tmp_path.iterdir()} == {"dev", "proc", "sys", "etc", "run", "tmp", "work"}
    assert stat.S_IMODE((tmp_path / "tmp").stat().st_mode) == 0o1777
    assert {path.name for path in (tmp_path / "etc").iterdir()} == {"hostname", "hosts", "resolv.conf"}
    assert set(given.values()) == {(0, 0)}


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir(mode=0o700)
    (tmp_path / "etc/hosts").write_text("mine")
    finish(tmp_path)
    assert (tmp_path / "etc/hosts").read_text() == "mine" and "etc" not in given


@pytest.mark.parametrize("name", ["dev", "etc", "work", "etc/hosts"])
def test_what_is_in_the_way_of_a_mount_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if name == "etc/hosts" else path.symlink_to("/var")
    with pytest.raises(ImageError, match=f"its /{name} is not"):
        finish(tmp_path)


def test_a_hosts_file_that_is_a_link_is_replaced_and_what_it_named_is_untouched(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    (tree / "etc").mkdir(parents=True)
    outside.write_text("mine")
    (tree / "etc/hosts").symlink_to(outside)
    finish(tree)
    assert not (tree / "etc/hosts").is_symlink() and outside.read_text() == "mine"


def test_the_working_directory_is_made_for_its_user_and_never_through_a_link(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    tree.mkdir()
    outside.mkdir()
    finish(tree, user="7:8", cwd="/srv/./app")
    assert (tree / "srv/app").is_dir() and given["app"] == (7, 8)
    (tree / "link").symlink_to(outside)
    finish(tree, cwd="/link/app")
    assert list(outside.iterdir()) == []


def test_users_are_numbers_or_names_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("bad\napp:x:70:71::/:/bin/sh\nhuge:x:70000:1::/:\nodd:x:seven:1::/:\n")
    (tmp_path / "etc/group").write_text("staff:x:72:\n")
    for user, ids in {
        "app": (70, 71),
        "app:staff": (70, 72),
        "70": (70, 71),
        "5:6": (5, 6),
        "65535": (65535, 0),
    }.items():
        found = finish(tmp_path, user)
        assert (found.uid, found.gid) == ids
    for user, why in {
        "no": "its User no is not in its /etc/passwd", "app:no": "its group no is not in its /etc/group",
        "65536": "is not in 0..65535", "huge": "is not in 0..65535", "odd": "is not in 0..65535", "9" * 30: "is not in",
        "\x1b[31m": r"its User \?\[31m is not",
    }.items():  # fmt: skip
        with pytest.raises(ImageError, match=why):
            finish(tmp_path, user)


def test_accounts_that_are_a_link_or_a_fifo_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to("/etc/passwd")
    with pytest.raises(ImageError, match="is not in its /etc/passwd"):
        finish(tmp_path, "daemon")
    (tmp_path / "etc/passwd").unlink()
    os.mkfifo(tmp_path / "etc/passwd")
    with pytest.raises(ImageError, match="is not in its /etc/passwd"):
        finish(tmp_path, "daemon")
