"""An unpacked tree: that what runs need is really there, made where it isn't; and whose name its author meant.

Works on a descriptor, one name at a time, following no link: the tree is a stranger's, and we are root. Nobody else
writes to it any more.
"""

import contextlib
import errno
import os
import stat

from agent.launcher.layout import UID_COUNT
from agent.launcher.manifest import Author, ImageError, shown
from agent.launcher.storage import STORED_BASE, ImageConfig

# Where the runtime mounts something: it can't make a mount point in a root that is read-only. oci.py names them.
_DIRECTORIES = {
    "dev": 0o755, "proc": 0o555, "sys": 0o555, "etc": 0o755, "run": 0o755, "tmp": 0o1777, "work": 0o1777
}  # fmt: skip
_FILES = ("hostname", "hosts", "resolv.conf")  # in /etc
_ACCOUNTS_BYTES = 1 << 20
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def finish(root: int, author: Author) -> ImageConfig:
    """Make what is missing below `root`, a descriptor. Raises ImageError and OSError."""
    for name, mode in _DIRECTORIES.items():
        os.close(_directory(root, name, mode, f"/{name}"))
    etc = _directory(root, "etc", 0o755, "/etc")
    try:
        for name in _FILES:
            _file(etc, name)
        uid, gid = _user(etc, author.user)
    finally:
        os.close(etc)
    _make_cwd(root, author.cwd, uid, gid)
    return ImageConfig(author.command, author.env, author.cwd, uid, gid)


def _directory(parent: int, name: str, mode: int, shown_as: str, uid: int = 0, gid: int = 0) -> int:
    """A descriptor of the directory `name`, made when nothing is there. Raises ImageError when it is something else."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
        made = True
    except FileExistsError:
        made = False
    try:
        fd = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        raise ImageError(f"its {shown_as} is not a directory") from error
    if made:
        _give(fd, mode, uid, gid)
    return fd


def _give(fd: int, mode: int, uid: int, gid: int) -> None:
    os.fchmod(fd, mode)  # before it is another's: only an owner may without CAP_FOWNER
    os.fchown(fd, STORED_BASE + uid, STORED_BASE + gid)


def _file(etc: int, name: str) -> None:
    """A plain file in /etc that something can be mounted on; a link there would lead the mount astray."""
    try:
        if stat.S_ISREG(os.stat(name, dir_fd=etc, follow_symlinks=False).st_mode):
            return
    except FileNotFoundError:
        pass
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=etc)
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=etc)
    except (IsADirectoryError, PermissionError) as error:
        raise ImageError(f"its /etc/{name} is not a file") from error
    try:
        _give(fd, 0o644, 0, 0)
    finally:
        os.close(fd)


def _make_cwd(root: int, cwd: str, uid: int, gid: int) -> None:
    """As engines do. Where a link or a file is in the way it is left: the runtime looks from inside the sandbox."""
    fd = os.dup(root)
    try:
        for name in filter(None, cwd.split("/")):
            if name == ".":
                continue
            try:
                inner = _directory(fd, name, 0o755, cwd, uid, gid)
            except ImageError:
                return
            os.close(fd)
            fd = inner
    finally:
        os.close(fd)


def _user(etc: int, user: str) -> tuple[int, int]:
    """Of the config's "", "USER" or "USER:GROUP". Raises ImageError."""
    name, _, group = user.partition(":")
    if not name:
        uid, gid = 0, 0
    elif name.isdecimal():
        uid, gid = _number(name), 0
        gid = next((_number(row[3]) for row in _rows(etc, "passwd", 4) if row[2] == name), 0)
    else:
        found = next((row for row in _rows(etc, "passwd", 4) if row[0] == name), None)
        if found is None:
            raise ImageError(f"its User {shown(name)} is not in its /etc/passwd")
        uid, gid = _number(found[2]), _number(found[3])
    if group.isdecimal():
        gid = _number(group)
    elif group:
        row = next((row for row in _rows(etc, "group", 3) if row[0] == group), None)
        if row is None:
            raise ImageError(f"its group {shown(group)} is not in its /etc/group")
        gid = _number(row[2])
    return uid, gid


def _number(word: str) -> int:
    if not word.isdecimal() or len(word) > 10 or int(word) >= UID_COUNT:
        raise ImageError(f"its user or group id {shown(word)} is not in 0..{UID_COUNT - 1}")
    return int(word)


def _rows(etc: int, name: str, columns: int) -> list[list[str]]:
    """The lines of /etc/passwd or /etc/group; none when it isn't a plain file."""
    try:
        fd = os.open(name, _LOOK, dir_fd=etc)
    except OSError:
        return []
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return []
        text = file.read(_ACCOUNTS_BYTES).decode(errors="replace")
    return [row for row in (line.split(":") for line in text.splitlines()) if len(row) >= columns]
