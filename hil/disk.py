"""A board's disk after a cut, looked at from outside: on a copy, because looking replays journals."""

import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

_STATE = "var/lib"
_SQLITE = b"SQLite format 3\0"
# Images that are being unpacked have another ending, and are begun anew.
_UNPACKED = "var/lib/edge-launcher/images/*.img"


def examine(qcow2: Path) -> list[str]:
    """What is wrong with the file system and with what is kept in it; nothing, after whatever cut. Needs root."""
    with tempfile.TemporaryDirectory(prefix="hil-disk-", dir=qcow2.parent) as scratch:
        raw = Path(scratch, "disk.raw")
        _run("qemu-img", "convert", "-U", "-q", "-O", "raw", str(qcow2), str(raw))
        return examine_raw(raw)


def examine_raw(raw: Path) -> list[str]:
    """The same of a raw image with one ext4 and no partition, which is changed by it: its journal is replayed."""
    found = [*_file_system(raw, "root")]
    with mounted(raw) as root:
        found += stores(root / _STATE)
        for image in sorted(root.glob(_UNPACKED)):
            found += _file_system(image, image.name)
        found += logs(root / "var/log/journal")
    return found


@contextmanager
def mounted(raw: Path) -> Iterator[Path]:
    """The file system within, read-only. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory(prefix="hil-mnt-") as point:
        _run("mount", "-o", "loop,ro", str(raw), point)
        try:
            yield Path(point)
        finally:
            _run("umount", point)


def stores(state: Path) -> Iterator[str]:
    """Of every SQLite file below `state`, what its integrity check says; and what the agent set aside as corrupt."""
    for file in sorted(state.glob("edge-*/**/*")):
        if file.is_symlink() or not file.is_file():
            continue
        if ".corrupt" in file.name:
            yield f"{file.name}: set aside as corrupt"
        with file.open("rb") as opened:
            is_store = opened.read(len(_SQLITE)) == _SQLITE
        if is_store:
            yield from (f"{file.name}: {fault}" for fault in integrity(file))


def integrity(file: Path) -> list[str]:
    """Of a copy: opening it replays its log."""
    with tempfile.TemporaryDirectory(prefix="hil-sqlite-") as scratch:
        for part in (file, file.with_name(f"{file.name}-wal")):
            if part.exists():
                shutil.copy(part, scratch)
        try:
            with closing(sqlite3.connect(Path(scratch, file.name))) as db:
                said = [str(row[0]) for row in db.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as why:
            return [str(why)]
    return [] if said == ["ok"] else said


def logs(journal: Path) -> list[str]:
    """What journalctl says of files that it can't read."""
    done = _ask("journalctl", "--verify", "--quiet", f"--directory={journal}")
    return [line for line in done.splitlines() if "FAIL" in line]


def _file_system(image: Path, name: str) -> Iterator[str]:
    """The journal is replayed, as the kernel would; then nothing may be wrong."""
    with tempfile.NamedTemporaryFile(prefix="hil-ext4-") as copy:
        if name != "root":  # what is mounted read-only can't be replayed
            shutil.copy(image, copy.name)
            image = Path(copy.name)
        subprocess.run(
            ["e2fsck", "-E", "journal_only", "-y", str(image)], capture_output=True, check=False, timeout=300
        )
        done = subprocess.run(
            ["e2fsck", "-f", "-n", str(image)], capture_output=True, text=True, check=False, timeout=300
        )
    if done.returncode != 0:
        yield f"{name}: e2fsck says {done.returncode}: {done.stdout.strip()[-1000:]}"


def _ask(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    return done.stdout + done.stderr


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=300)
