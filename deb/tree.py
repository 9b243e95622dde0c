"""The package's files: the release, a virtual environment that may stand anywhere, and what goes beside it."""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from deb import wheels
from deb.wheels import MACHINES, PYTHON, TOP, WheelError

SYSTEMD = TOP / "systemd"
LIBRARY = Path("usr/lib/store-edge-agent")
SHARED = Path("usr/share/store-edge-agent")
_OURS = (("agent", TOP / "agent"), ("storeedge", TOP / "proto/storeedge"))
_KEPT = (".py", ".pyi", ".json", ".sql", ".proto", "py.typed")  # as pyproject.toml's package-data
_UNITS = "/usr/lib/systemd/system"


class Placed(NamedTuple):
    """A line of systemd/placed."""

    kind: str
    file: str
    place: str


def placed() -> list[Placed]:
    lines = [line.split() for line in (SYSTEMD / "placed").read_text().splitlines() if not line.startswith("#")]
    return [Placed(kind, file, *(place or [f"{_UNITS}/{file}"])) for kind, file, *place in lines]


def version() -> str:
    """Of this checkout."""
    return str(re.findall(r'^__version__ = "(.+)"', (TOP / "agent/__init__.py").read_text(), re.MULTILINE)[0])


def lay(root: Path, architecture: str, release_version: str, kept: Path) -> str:
    """Fill `root` with all but DEBIAN/; the name of the release's directory. `kept`: as wheels.fetch.

    Raises WheelError, CalledProcessError.
    """
    release = root / LIBRARY / "release"
    _release(release, architecture, release_version, wheels.fetch(architecture, kept))
    _beside(root)
    # Of all that counts: with another unit alone the agent has to start again too.
    name = f"{release_version}-{_digest(root)}"
    (root / LIBRARY / "release-name").write_text(f"{name}\n")
    _compile(release, f"/opt/store-edge-agent/{name}")
    return name


def _release(release: Path, architecture: str, release_version: str, files: tuple[Path, ...]) -> None:
    site = release / f"lib/python{PYTHON}/site-packages"
    site.mkdir(parents=True)
    for wheel in files:
        wheels.unpack(wheel, site)
    for name, source in _OURS:
        for path in sorted(source.rglob("*")):
            if path.is_file() and path.name.endswith(_KEPT):
                target = site / name / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    about = site / "agent/__init__.py"
    about.write_text(about.read_text().replace(f'"{version()}"', f'"{release_version}"'))
    _check_machine(site, MACHINES[architecture][1])
    # What `python3 -m venv` makes. Python finds this file beside its link in bin/, wherever the directory is.
    (release / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON}\n")
    (release / "bin").mkdir()
    (release / f"bin/python{PYTHON}").symlink_to(f"/usr/bin/python{PYTHON}")
    for name in ("python3", "python"):
        (release / "bin" / name).symlink_to(f"python{PYTHON}")
    shutil.copyfile(TOP / "docs/OPERATIONS.md", release / "OPERATIONS.md")


def _check_machine(site: Path, machine: int) -> None:
    for path in site.rglob("*.so*"):
        head = path.read_bytes()[:20]
        if head[:4] != b"\x7fELF" or int.from_bytes(head[18:20], "little") != machine:
            raise WheelError(f"{path.relative_to(site)} is of another machine")


def _beside(root: Path) -> None:
    """What systemd/placed lists: dpkg's if it is below /usr, else for postinst to place."""
    for kind, file, place in placed():
        target = root / place.lstrip("/") if place.startswith("/usr/") else root / SHARED / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SYSTEMD / file, target)
        target.chmod(0o755 if kind == "program" else 0o644)
    for file in ("placed", "steps.sh"):
        shutil.copyfile(SYSTEMD / file, root / SHARED / file)


def document(root: Path, changelog: str) -> None:
    """What Debian wants of each package: its licences, its changes, and what lintian may overlook."""
    here = Path(__file__).parent
    folder = root / "usr/share/doc/store-edge-agent"
    folder.mkdir(parents=True)
    shutil.copyfile(here / "copyright", folder / "copyright")
    (folder / "changelog.gz").write_bytes(gzip.compress(changelog.encode(), 9, mtime=0))
    overrides = root / "usr/share/lintian/overrides/store-edge-agent"
    overrides.parent.mkdir(parents=True)
    shutil.copyfile(here / "lintian-overrides", overrides)


def settle(root: Path, epoch: int) -> None:
    """The same modes and times whoever builds it, and when."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def files(root: Path) -> Iterator[Path]:
    """Of the package, without DEBIAN/ and links, in one order."""
    everything = (path for path in sorted(root.rglob("*")) if "DEBIAN" not in path.relative_to(root).parts)
    return (path for path in everything if path.is_file() and not path.is_symlink())


def _digest(root: Path) -> str:
    total = hashlib.sha256()
    for path in files(root):
        total.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return total.hexdigest()[:8]


def _compile(release: Path, place: str) -> None:
    """Bytecode: the service's user may not write it. Unchecked: nobody changes a source there.

    One process, in one order: what a file's bytecode looks like hangs on what the process saw before. `place` is what
    tracebacks say.
    """
    words = ("-q", "--invalidation-mode=unchecked-hash", "-s", str(release), "-p", place, str(release / "lib"))
    subprocess.run([sys.executable, "-m", "compileall", *words], check=True, env={"PYTHONHASHSEED": "0"})
