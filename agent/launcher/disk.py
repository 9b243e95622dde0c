"""The disk of a job: an ext4 file of its own, kept between its runs, mounted at /work in the ids of the run."""

import contextlib
import fcntl
import os
import struct
from collections.abc import Generator
from pathlib import Path

from agent.launcher import idmap, layout, loop, monitor, storage
from agent.launcher.layout import Places
from agent.launcher.operation import MakeDirectory, Plan, Unmount
from agent.launcher.protocol import MIB, DiskState, JobRequest, LauncherError
from agent.launcher.storage import LimitDevice, MakeDisk, MountFile, Step

_MKFS, _E2FSCK, _RESIZE = "/usr/sbin/mkfs.ext4", "/usr/sbin/e2fsck", "/usr/sbin/resize2fs"
_NO_IO = "io_bytes_per_second: this machine's cgroups have no io controller"
_TOOL_SECONDS = 600.0
_CORRECTED = 3  # e2fsck(8): 1 errors corrected, 2 and the system should be rebooted
# ext4's superblock, at byte 1024 (docs.kernel.org, "ext4 Data Structures and Algorithms"): s_blocks_count_lo,
# s_log_block_size, s_magic, s_state, s_feature_incompat, s_blocks_count_hi.
_SUPERBLOCK = 1024
_BLOCKS, _LOG_BLOCK, _MAGIC, _STATE, _INCOMPAT, _BLOCKS_HI = 4, 24, 56, 58, 96, 336
_EXT4, _CLEANLY_UNMOUNTED, _NEEDS_RECOVERY, _64BIT = 0xEF53, 0x1, 0x4, 0x80


def file(places: Places, tenant: str, job: str) -> Path:
    return storage.disks(places) / tenant / f"{job}.img"


def mounted(places: Places, run: str) -> Path:
    """What config.json binds at /work (options bind, nosuid, nodev) for a run with a disk."""
    return storage.work(places, run)


def attach(request: JobRequest, slot: int, host: layout.Host) -> Plan:
    """Before the sandbox is created; nothing when the request wants no disk."""
    if not request.disk_bytes:
        return ()
    image, path = file(host.places, request.tenant, request.job), mounted(host.places, request.run)
    return (
        MakeDirectory(image.parent, 0o700),
        MakeDisk(image, request.disk_bytes),
        MakeDirectory(path.parent.parent, 0o711),
        MakeDirectory(path.parent, 0o711),
        MakeDirectory(path, 0o711),
        MountFile(image, path, read_only=False, first_id=layout.uid_base(slot)),
    )


def limit(request: JobRequest, host: layout.Host) -> Plan:
    """Once the sandbox is created (its cgroup is there), before `detach`. Raises LauncherError(host)."""
    if not request.disk_bytes or not request.io_bytes_per_second:
        return ()
    tree = host.tree
    if tree.kind == "v2":
        files: tuple[Path, ...] = (tree.at("", tree.job(request.run)) / "io.max",)
    elif "blkio" not in dict(tree.mounts):
        raise LauncherError("host", _NO_IO, "io_bytes_per_second")
    else:
        group = tree.at("blkio", tree.job(request.run))
        files = tuple(group / f"blkio.throttle.{way}_bps_device" for way in ("read", "write"))
    return (LimitDevice(mounted(host.places, request.run), files, request.io_bytes_per_second),)


def detach(run: str, host: layout.Host) -> Plan:
    """Once the sandbox is created: it has mounts of its own, and the last of them takes the loop device with it."""
    return (Unmount(mounted(host.places, run)),)


def states(places: Places) -> list[DiskState]:
    """What is there and what it takes; disks that were never finished don't count."""
    found = sorted(storage.disks(places).glob("*/*.img"))
    return [DiskState(path.parent.name, path.stem, path.stat().st_size) for path in found]


def adopt(places: Places) -> None:
    """Take away what an earlier launcher was making when it ended; its job may never ask again. Raises OSError."""
    for path in storage.disks(places).glob("*/*.partial"):
        path.unlink()


def remove(places: Places, tenant: str, job: str) -> None:
    """The caller knows that no run uses it. Raises LauncherError: not-found, or conflict when one does all the same."""
    path = file(places, tenant, job)
    try:
        with _alone(path):
            if loop.in_use(path):
                raise LauncherError("conflict", f"the disk of {tenant}/{job} is in use", "job")
            path.unlink()
    except FileNotFoundError:
        raise LauncherError("not-found", f"no disk of {tenant}/{job}", "job") from None
    with contextlib.suppress(OSError):  # others of the tenant are there
        path.parent.rmdir()


# --- doing --------------------------------------------------------------------------------------


def perform(step: Step) -> None:
    """Raises LauncherError(host) and OSError."""
    match step:
        case MakeDisk(path, size):
            with _alone(path):
                _make(path, size) if not path.exists() else _ready(path, size)
        case MountFile(path, point, read_only, first_id):
            with loop.device(path, read_only=read_only) as device:
                idmap.attach(device, point, read_only=read_only, first_id=first_id)
        case LimitDevice(point, files, rate):
            device_id = point.stat().st_dev
            number = f"{os.major(device_id)}:{os.minor(device_id)}"
            for path in files:
                _limit(path, f"{number} rbps={rate} wbps={rate}" if path.name == "io.max" else f"{number} {rate}")


@contextlib.contextmanager
def _alone(path: Path) -> Generator[None]:
    """One at a time among a tenant's disks."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _limit(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except FileNotFoundError as error:
        raise LauncherError("host", _NO_IO, "io_bytes_per_second") from error


def _make(path: Path, size: int) -> None:
    """All of its blocks are taken now: a tenant's disk can't be found full because of a neighbour's."""
    new = path.with_suffix(".partial")
    new.unlink(missing_ok=True)  # of a crash
    try:
        with new.open("xb") as out:
            _reserve(out.fileno(), 0, size)
        argv = (_MKFS, "-q", "-F", "-m", "0", "-E", "nodiscard,assume_storage_prezeroed=1", str(new))
        _format(argv)
        with loop.device(new, read_only=False) as device:
            top = idmap.detached(device)
            try:  # in this order: who is neither owner nor has CAP_FOWNER can't
                os.rmdir("lost+found", dir_fd=top)
                os.fchmod(top, 0o1777)
                os.fchown(top, storage.STORED_BASE, storage.STORED_BASE)
                idmap.sync(top)
            finally:
                os.close(top)
        _sync(new)
        new.rename(path)
        _sync(path.parent)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _format(argv: tuple[str, ...]) -> None:
    code, said = monitor.command(argv, seconds=_TOOL_SECONDS)
    if code != 0:
        raise LauncherError("host", f"mkfs.ext4: {said}")


def _reserve(fd: int, start: int, end: int) -> None:
    disk = os.fstatvfs(fd)
    room = storage.room(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
    if end - start > room:
        raise LauncherError("host", f"disk_bytes: {end - start} bytes more are asked, the disk has {room}", "disk")
    os.posix_fallocate(fd, start, end - start)


def _ready(path: Path, size: int) -> None:
    """Check it after an unclean end, and let it grow. A disk that something has mounted was checked then."""
    if not loop.in_use(path) and not is_clean(path):
        _repair(path)
    if _file_system_bytes(_superblock(path)) < size // MIB * MIB:
        _grow(path, size)


def _repair(path: Path, *flags: str) -> None:
    code, said = monitor.command((_E2FSCK, "-p", *flags, str(path)), seconds=_TOOL_SECONDS)
    if code & ~_CORRECTED:  # not by itself: then with an answer to every question, as nobody is here to give one
        code, said = monitor.command((_E2FSCK, "-f", "-y", str(path)), seconds=_TOOL_SECONDS)
    if code & ~_CORRECTED:
        raise LauncherError("host", f"the disk of {path.parent.name}/{path.stem} is damaged: {said[-300:]}", "disk")


def _grow(path: Path, size: int) -> None:
    """A crash leaves a file that is longer than what is in it, or a file system marked as not clean: both are seen."""
    if loop.in_use(path):
        raise LauncherError(
            "conflict", f"the disk of {path.parent.name}/{path.stem} is in use, it can't grow", "disk_bytes"
        )
    with path.open("r+b") as out:
        have = os.fstat(out.fileno()).st_size
        if have < size:
            _reserve(out.fileno(), have, size)
    _repair(path, "-f")  # resize2fs wants it
    code, said = monitor.command((_RESIZE, str(path)), seconds=_TOOL_SECONDS)
    if code != 0:
        raise LauncherError("host", f"resize2fs: {said[-300:]}", "disk")
    _sync(path)


def is_clean(path: Path) -> bool:
    """Unmounted as it should be, and without a known error; without a process to look."""
    block = _superblock(path)
    if _number(block, _MAGIC, "H") != _EXT4:
        return False
    return _number(block, _STATE, "H") == _CLEANLY_UNMOUNTED and not _number(block, _INCOMPAT, "I") & _NEEDS_RECOVERY


def _superblock(path: Path) -> bytes:
    with path.open("rb") as disk:
        disk.seek(_SUPERBLOCK)
        return disk.read(1024)


def _number(block: bytes, offset: int, kind: str) -> int:
    return int(struct.unpack_from(f"<{kind}", block, offset)[0])


def _file_system_bytes(block: bytes) -> int:
    high = _number(block, _BLOCKS_HI, "I") if _number(block, _INCOMPAT, "I") & _64BIT else 0
    return (high << 32 | _number(block, _BLOCKS, "I")) * (1024 << _number(block, _LOG_BLOCK, "I"))


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
