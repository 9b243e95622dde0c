"""Images are built once per digest of what goes into them, and found again."""

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hil.image import base, disk

# Other boards and other checkouts have images here, too, and a board that runs reads its own.
_KEPT_SECONDS = 3 * 86400


def root() -> Path:
    if os.geteuid() == 0:
        return Path("/var/cache/store-edge-agent/hil")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "store-edge-agent/hil"


def image(cache: Path) -> Path:
    """The folder with disk.qcow2, vmlinuz, initrd.gz and ssh of the virtual board, built now if need be."""
    cache.mkdir(parents=True, exist_ok=True)
    with _lock(cache / "lock"):
        base_key = base.key()
        base_folder = _kept(cache, f"base-{base_key}", "packages (about a minute)", base.build)
        return _kept(cache, f"disk-{disk.key(base_key)}", "disk", lambda folder: disk.build(base_folder, folder))


def _kept(cache: Path, name: str, what: str, build: Callable[[Path], None]) -> Path:
    """`cache`/`name`, whole or absent: built beside and renamed. What nobody has used for days is removed."""
    folder = cache / name
    if folder.exists():
        os.utime(folder)
        return folder
    print(f"hil: building the board's {what}", file=sys.stderr, flush=True)
    started = time.monotonic()
    partial = cache / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    build(partial)
    partial.rename(folder)
    for old in (*cache.glob("base-*"), *cache.glob("disk-*")):
        if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(old)
    print(f"hil: built in {time.monotonic() - started:.0f} s: {folder}", file=sys.stderr, flush=True)
    return folder


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
