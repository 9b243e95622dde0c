"""mount(2) and umount2(2), which the standard library lacks and for which a process each would be slow."""

import os
from pathlib import Path
from typing import Any

# <linux/mount.h>
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
_MNT_DETACH = 0x2
_UMOUNT_NOFOLLOW = 0x8
_NOT_MOUNTED = (2, 22)  # ENOENT, EINVAL


def _libc() -> Any:
    import ctypes  # noqa: PLC0415 0.7 MB that a launcher without mounts of its own never needs

    return ctypes.CDLL(None, use_errno=True)


def _failed() -> int:
    import ctypes  # noqa: PLC0415 as above

    return ctypes.get_errno()


def mount(source: str, path: Path, kind: str, flags: int, data: str = "") -> None:
    """Raises OSError."""
    if _libc().mount(source.encode(), os.fsencode(path), kind.encode(), flags, data.encode()) != 0:
        number = _failed()
        raise OSError(number, os.strerror(number), str(path))


def unmount(path: Path) -> None:
    """Detached at once, gone with its last user. Nothing when nothing is mounted there. Raises OSError."""
    if _libc().umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
        number = _failed()
        if number not in _NOT_MOUNTED:
            raise OSError(number, os.strerror(number), str(path))
