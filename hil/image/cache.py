"""Images are built once per digest of what goes into them, and found again."""

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hil.image import base, disk, foreign, recipe

# Other boards and other checkouts have images here, too, and a board that runs reads its own.
_KEPT_SECONDS = 3 * 86400


def root() -> Path:
    if os.geteuid() == 0:
        return Path("/var/cache/store-edge-agent/hil")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "store-edge-agent/hil"


def image(cache: Path, name: str) -> Path:
    """The folder with disk.qcow2, vmlinuz, initrd.gz, ssh and perhaps board.dtb of a virtual board, built if need be.

    `name` is one of recipe.BOARDS.
    """
    cache.mkdir(parents=True, exist_ok=True)
    board = recipe.BOARDS[name]
    with _lock(cache / f"lock-{board.base.architecture}"):
        base_key = base.key(board.base)
        what = f"{board.base.architecture} packages (a minute; ten for a processor that is not this machine's)"
        base_folder = _kept(cache, f"base-{base_key}", what, partial(_base, board.base))
        disk_key = disk.key(base_key, board)
        return _kept(cache, f"disk-{disk_key}", f"disk of {name}", partial(disk.build, board, base_folder))


def _base(made_of: recipe.Base, folder: Path) -> None:
    foreign.prepare(made_of.architecture)
    base.build(made_of, folder)


def _kept(cache: Path, name: str, what: str, build: Callable[[Path], None]) -> Path:
    """`cache`/`name`, whole or absent: built beside and renamed. What nobody has used for days is removed."""
    folder = cache / name
    if folder.exists():
        os.utime(folder)
        return folder
    print(f"hil: building: {what}", file=sys.stderr, flush=True)
    started = time.monotonic()
    unfinished = cache / f".{name}.partial"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    build(unfinished)
    unfinished.rename(folder)
    for old in (*cache.glob("base-*"), *cache.glob("disk-*")):
        if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    print(f"hil: built in {time.monotonic() - started:.0f} s: {folder}", file=sys.stderr, flush=True)
    return folder


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
