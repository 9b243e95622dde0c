"""What goes on a board: the wheels of this checkout for its Python and processor, and systemd/ beside them."""

import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

from hil.image import recipe

TOP = Path(__file__).parent.parent
PYTHON = "3.11"  # Debian 12's
PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")
_SOURCES = ("agent", "central", "proto", "pyproject.toml", "README.md", "LICENSE")


def build(cache: Path, archive: Path, machine: str) -> None:
    """Write `archive`, a tar of systemd/, docs/ and wheelhouse/, for what uname(1) calls `machine`.

    Wheels of others are kept in `cache`.

    Raises CalledProcessError; needs a Python package index the first time.
    """
    with tempfile.TemporaryDirectory() as scratch:
        wheels = Path(scratch, "wheelhouse")
        shutil.copytree(_dependencies(cache, machine), wheels)
        _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(_sources(Path(scratch))))
        with tarfile.open(archive, "w") as tar:
            tar.add(wheels, "wheelhouse")
            tar.add(TOP / "systemd", "systemd")
            tar.add(TOP / "docs/OPERATIONS.md", "docs/OPERATIONS.md")


def _sources(scratch: Path) -> Path:
    """A copy to build in: setuptools leaves build/ and *.egg-info where it works."""
    folder = scratch / "source"
    folder.mkdir()
    for name in _SOURCES:
        path = TOP / name
        if path.is_dir():
            shutil.copytree(path, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(path, folder)
    return folder


def _dependencies(cache: Path, machine: str) -> Path:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    wanted: list[str] = project["dependencies"]
    tags = [f"{platform}_{machine}" for platform in PLATFORMS]
    folder = cache / f"wheels-{recipe.digest(PYTHON, *tags, *wanted)}"
    if not folder.exists():
        partial = cache / f".{folder.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        platforms = [f"--platform={name}" for name in tags]
        target = ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", *platforms]
        _pip("download", *target, "--dest", str(partial), *wanted)
        partial.rename(folder)
    return folder


def _pip(*words: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    subprocess.run([sys.executable, "-m", "pip", *words, *quiet], check=True)
