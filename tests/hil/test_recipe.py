"""An image is made again when, and only when, something that goes into it has changed."""

from pathlib import Path

from hil.image import recipe


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
