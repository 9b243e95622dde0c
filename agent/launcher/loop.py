"""Loop devices (loop(4)): a file as a block device, never the same file as two, gone by itself after the last mount."""

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from agent.launcher.protocol import LauncherError

# <linux/loop.h>. LOOP_CONFIGURE sets all at once (Linux 5.8): no moment in which a crash leaves a device for ever.
_CONFIGURE = 0x4C0A
_GET_STATUS64 = 0x4C05
_CTL_GET_FREE = 0x4C82
_READ_ONLY, _AUTOCLEAR, _DIRECT_IO = 1, 4, 16
_INFO = struct.Struct("5Q4I64s64s32s2Q")  # struct loop_info64
_CONFIG = struct.Struct(f"2I{_INFO.size}s64x")  # struct loop_config

_CONTROL = Path("/dev/loop-control")
_DEVICES = Path("/sys/block")
_TRIES = 64  # others take free devices too


@contextmanager
def device(file: Path, *, read_only: bool) -> Generator[str]:
    """The path of a device on `file`; it stays as long as the block lasts or something is mounted from it.

    One that is there already is used again: two devices on one file would be two file systems that don't know of each
    other. Raises LauncherError(host) and OSError.
    """
    with _alone(file):
        fd, path = _find(file) or _make(file, read_only=read_only)
    try:
        yield path
    finally:
        os.close(fd)


def in_use(file: Path) -> bool:
    """Something, in whatever mount namespace, has a device on `file`."""
    with _alone(file):
        found = _find(file)
    if found:
        os.close(found[0])
    return found is not None


@contextmanager
def _alone(file: Path) -> Generator[None]:
    """Against another thread or process between the look and the making.

    By a descriptor that no device gets: a lock goes with the open file, which a device keeps.
    """
    fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _find(file: Path) -> tuple[int, str] | None:
    """A device on that very file, held open (so that it stays), and its path."""
    wanted = file.lstat()
    for name in os.listdir(_DEVICES):  # noqa: PTH208 names alone, and there may be hundreds
        if not name.startswith("loop"):
            continue
        try:
            # The path depends on who looks (mount namespaces); the last part doesn't, and spares most of the opens.
            if not (_DEVICES / name / "loop/backing_file").read_text().strip().endswith(file.name):
                continue
            fd = os.open(f"/dev/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # not in use, or no longer
            continue
        with contextlib.suppress(OSError):
            info = _INFO.unpack(fcntl.ioctl(fd, _GET_STATUS64, bytes(_INFO.size)))
            if info[:2] == (wanted.st_dev, wanted.st_ino):
                return fd, f"/dev/{name}"
        os.close(fd)
    return None


def _make(file: Path, *, read_only: bool) -> tuple[int, str]:
    flags = _AUTOCLEAR | _DIRECT_IO | (_READ_ONLY if read_only else 0)  # direct: not twice in the page cache
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, os.fsencode(file.name)[:63], b"", b"", 0, 0)
    control, backing = _control(), -1
    try:
        backing = os.open(file, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_NOFOLLOW | os.O_CLOEXEC)
        config = _CONFIG.pack(backing, 0, info)
        for _ in range(_TRIES):
            path = f"/dev/loop{fcntl.ioctl(control, _CTL_GET_FREE)}"
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, _CONFIGURE, config)
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return fd, path
    finally:
        os.close(control)
        if backing >= 0:
            os.close(backing)
    raise LauncherError("host", f"no loop device stayed free in {_TRIES} tries")


def _control() -> int:
    try:
        return os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise LauncherError("host", f"no loop devices here ({_CONTROL}: {error.strerror}); modprobe loop") from error
