"""With a disk and a secret: what /work, a file system on the host's disk, may be made to do."""

import errno
import fcntl
import os
import shutil
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from tests.sandbox.probes.verdict import Held, Measured, first, main, probe, writable

MIB = 1 << 20
_CAP = 256 * MIB  # the job's disk has 16 MiB


def _ioctl(number: int, rest: bytes) -> str:
    fd = os.open("/work", os.O_RDONLY)
    try:
        fcntl.ioctl(fd, number, rest)
    finally:
        os.close(fd)
    return f"ioctl {number:#x} done"


def _refused(attempt: Callable[[], str]) -> str:
    """An ioctl that the file system does not know is as good as refused."""
    try:
        return attempt()
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
            raise Held(errno.errorcode[error.errno]) from error
        raise


@probe("exhaust", "with a disk: write beyond it (cap 256 MiB)")
def work_disk_fill() -> str:
    path, done = Path("/work/fill"), 0
    try:
        with path.open("wb", buffering=0) as file:
            while done < _CAP:
                done += file.write(bytes(MIB))
    except OSError as error:
        raise Held(f"{errno.errorcode[error.errno or 0]} after {done // MIB} MiB") from error
    finally:
        path.unlink()
    return f"{done // MIB} MiB"


@probe("exhaust", "with a disk: its inodes (cap 20,000)")
def work_disk_inodes() -> str:
    os.mkdir("/work/inodes")
    number = 0
    try:
        for number in range(20_000):
            os.close(os.open(f"/work/inodes/{number}", os.O_CREAT | os.O_WRONLY))
    except OSError as error:
        raise Held(f"{errno.errorcode[error.errno or 0]} after {number} files") from error
    finally:
        shutil.rmtree("/work/inodes")
    return "20,000 files"


@probe("exhaust", "with a disk: a file that claims 1 TiB and holds nothing")
def work_sparse() -> str:
    with open("/work/sparse", "wb") as file:
        try:
            file.truncate(1 << 40)
        finally:
            os.unlink("/work/sparse")
    if os.statvfs("/work").f_blocks * os.statvfs("/work").f_frsize < 64 * MIB:
        raise Held("its size is a number; nothing is reserved outside the disk")
    raise Measured("nothing is taken by it")


@probe("escape", "with a disk: freeze its file system, and with it whoever on the host syncs")
def work_freeze() -> str:
    return _refused(lambda: _ioctl(0xC0045877, struct.pack("i", 0)))  # FIFREEZE


@probe("escape", "with a disk: shut its file system down, resize it, trim it")
def work_administer() -> str:
    return first(
        lambda: _refused(lambda: _ioctl(0x8004587D, struct.pack("I", 2))),  # EXT4_IOC_SHUTDOWN, without flushing
        lambda: _refused(lambda: _ioctl(0x40086610, struct.pack("Q", 1 << 30))),  # EXT4_IOC_RESIZE_FS
        lambda: _refused(lambda: _ioctl(0xC0185879, struct.pack("QQQ", 0, 1 << 40, 0))),  # FITRIM
    )


@probe("escape", "with a disk: a symbolic link to the host's files, for the host to follow")
def work_symbolic_link() -> str:
    os.symlink("/etc/shadow", "/work/link")
    os.symlink("../../../../../../../../etc/shadow", "/work/link-up")
    return first(*(lambda name=name: Path(name).read_text()[:20] for name in ("/work/link", "/work/link-up")))


@probe("escape", "with a disk: a hard link to a setuid program, to init, to a file of /etc")
def work_hard_link() -> str:
    def link(target: str) -> str:
        try:
            os.link(target, "/work/hard")
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise Held("EXDEV") from error
            raise
        return f"linked {target}"

    return first(*(lambda name=name: link(name) for name in ("/usr/bin/su", "/proc/1/exe", "/etc/passwd")))


@probe("escape", "with a disk: a setuid program and a device node that stay on the host's disk")
def work_setuid() -> str:
    shutil.copy("/usr/bin/id", "/work/id")
    os.chmod("/work/id", 0o6755)
    node = False
    try:
        os.mknod("/work/node", stat.S_IFCHR | 0o666, os.makedev(1, 1))
        node = True
    except OSError:
        pass
    flags = os.statvfs("/work").f_flag
    if flags & os.ST_NOSUID and flags & os.ST_NODEV and not node:
        raise Held("setuid is inert (nosuid), no device is made (EPERM) or opened (nodev)")
    return f"nosuid {bool(flags & os.ST_NOSUID)}, nodev {bool(flags & os.ST_NODEV)}, node made {node}"


@probe("escape", "with a disk: file capabilities and trusted attributes")
def work_attributes() -> str:
    Path("/work/x").touch()
    # VFS_CAP_REVISION_2, all capabilities, effective
    capability = struct.pack("<IIIII", 0x02000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0)

    def put(name: str) -> str:
        os.setxattr("/work/x", name, capability)
        return f"set {name}"

    return first(lambda: put("security.capability"), lambda: put("trusted.overlay.opaque"))


@probe("escape", "with a disk: files that their owner can't remove (immutable, append-only)")
def work_immutable() -> str:
    fd = os.open("/work/y", os.O_CREAT | os.O_RDWR)
    flags = struct.unpack("i", fcntl.ioctl(fd, 0x80086601, struct.pack("i", 0)))[0]
    fcntl.ioctl(fd, 0x40086602, struct.pack("i", flags | 0x10))
    return "immutable"


@probe("escape", "with a disk: give a file to a user outside its range")
def work_chown() -> str:
    Path("/work/z").touch()
    for owner in (0, 65534, 100_000, 2_000_000_000):
        try:
            os.chown("/work/z", owner, owner)
        except OSError:
            continue
        return f"given to {owner}"
    raise Held("EPERM, EINVAL")


@probe("snoop", "with a disk: what others left on it, or its raw blocks")
def work_raw() -> str:
    names = sorted(set(os.listdir("/work")) - {"lost+found", "link", "link-up", "id", "x", "y", "z"})
    if names:
        return f"{names}"
    return first(lambda: os.listdir("/work/lost+found")[0] if os.listdir("/work/lost+found") else _none(),
                 *(lambda number=number: writable(f"/dev/loop{number}") for number in range(8)))  # fmt: skip


def _none() -> str:
    raise Held("empty")


def _removed(path: str) -> str:
    os.remove(path)
    return f"removed {path}"


@probe("escape", "with a secret: change it, or read it as another user of the job")
def own_secret() -> str:
    path = "/run/secrets/token"
    if not os.path.exists(path):
        raise Measured("has none")
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode != 0o400 or "s3cret" in "".join(os.environ.values()):
        return f"mode {mode:o}"
    return first(lambda: writable(path), lambda: _removed(path))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
