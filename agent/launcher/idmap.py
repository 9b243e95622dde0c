"""Mounts a file system with its ids mapped to a run's (mount_setattr(2), Linux 5.12), without a process for each."""

import os
import struct
import threading
from pathlib import Path
from typing import Any

from agent.launcher import mounts
from agent.launcher.layout import UID_COUNT
from agent.launcher.protocol import LauncherError
from agent.launcher.storage import STORED_BASE

# System calls since 5.0 have one number on every architecture (arch/*/entry/syscalls).
_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 429, 430, 431, 432, 442
# <linux/mount.h>, <linux/fcntl.h>
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_SET_FLAG, _SET_STRING, _CMD_CREATE = 0, 1, 6
_RDONLY, _NOSUID, _NODEV, _IDMAP = 0x1, 0x2, 0x4, 0x10_0000
_MOVE_FROM_EMPTY_PATH = 0x4
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_ATTR = struct.Struct("4Q")  # struct mount_attr: set, clear, propagation, userns_fd

_UNSHARE = "/usr/bin/unshare"
_KEPT = 64  # namespaces; each is a descriptor, and the lowest slots are used the most
_namespaces: dict[int, int] = {}
_lock = threading.Lock()


def supported(release: str) -> bool:
    """By the kernel's own version, `uname -r`: 5.12 has it for ext4."""
    numbers = [int(word) for word in release.replace("-", ".").split(".")[:2] if word.isdigit()]
    return numbers >= [5, 12]


def attach(device: str, path: Path, *, read_only: bool, first_id: int | None) -> None:
    """Mount the ext4 of `device` at `path`, nosuid and nodev. Raises OSError and LauncherError(host)."""
    mount = _detached(device, read_only=read_only)
    try:
        if first_id is not None:
            with _lock:
                _set_ids(mount, _namespace(first_id))
        _call(_MOVE_MOUNT, mount, b"", _AT_FDCWD, os.fsencode(path), _MOVE_FROM_EMPTY_PATH, name=str(path))
    finally:
        os.close(mount)


def detached(device: str) -> int:
    """A descriptor of the root of the ext4 of `device`, writable; mounted nowhere, and gone when it is closed."""
    mount = _detached(device, read_only=False)
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
    finally:
        os.close(mount)


def sync(fd: int) -> None:
    """syncfs(2) of the file system of `fd`: OSError when any of it could not be written (Linux 5.8)."""
    import ctypes  # noqa: PLC0415 as in _call

    if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "syncfs")


def clear(points: Path, run: str = "*") -> None:
    """Unmount what is at RUN/NAME below `points`, of one run or all, and remove these mount points."""
    for path in sorted(points.glob(f"{run}/*")):
        while path.is_mount():
            mounts.unmount(path)
        path.rmdir()
    for path in points.glob(run):
        path.rmdir()


def _detached(device: str, *, read_only: bool) -> int:
    context = _call(_FSOPEN, b"ext4", _FSOPEN_CLOEXEC, name="ext4")
    try:
        _call(_FSCONFIG, context, _SET_STRING, b"source", device.encode(), 0, name=device)
        if read_only:
            _call(_FSCONFIG, context, _SET_FLAG, b"ro", None, 0, name=device)
        _call(_FSCONFIG, context, _CMD_CREATE, None, None, 0, name=device)
        flags = _NOSUID | _NODEV | (_RDONLY if read_only else 0)
        return _call(_FSMOUNT, context, _FSMOUNT_CLOEXEC, flags, name=device)
    finally:
        os.close(context)


def _set_ids(mount: int, namespace: int) -> None:
    attr = _ATTR.pack(_IDMAP, 0, 0, namespace)
    _call(_MOUNT_SETATTR, mount, b"", _AT_EMPTY_PATH, attr, len(attr), name="idmapped mount")


def _namespace(first: int) -> int:
    """A user namespace that says: what is STORED_BASE+n on disk is `first`+n here. Kept open; call under _lock."""
    if first not in _namespaces:
        while len(_namespaces) >= _KEPT:
            os.close(_namespaces.pop(next(iter(_namespaces))))
        _namespaces[first] = _make_namespace(f"{STORED_BASE} {first} {UID_COUNT}\n")
    return _namespaces[first]


def _make_namespace(ids: str) -> int:
    """Only a process can make one: unshare(1), since a fork of this one, with its threads, could hang."""
    stdin_read, stdin_write = os.pipe()
    stdout_read, stdout_write = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, stdin_read, 0), (os.POSIX_SPAWN_DUP2, stdout_write, 1)]
        pid = os.posix_spawn(_UNSHARE, ("unshare", "--user", "/bin/cat"), {}, file_actions=actions)
        try:
            os.close(stdout_write)
            stdout_write = -1
            os.write(stdin_write, b"x")
            if os.read(stdout_read, 1) != b"x":  # cat is there, so it is in its namespace
                raise LauncherError("host", "unshare --user failed: are user namespaces switched off?")
            for kind in ("uid", "gid"):
                Path(f"/proc/{pid}/{kind}_map").write_text(ids)
            return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(stdin_write)
            stdin_write = -1
            os.waitpid(pid, 0)
    finally:
        for fd in (stdin_read, stdin_write, stdout_read, stdout_write):
            if fd >= 0:
                os.close(fd)


def _call(number: int, *words: Any, name: str) -> int:
    """syscall(2). Raises OSError that names `name`."""
    import ctypes  # noqa: PLC0415 0.7 MB that a launcher without images and disks never needs

    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    wide = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    found = int(libc.syscall(ctypes.c_long(number), *wide))
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
    return found
