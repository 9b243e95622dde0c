"""The process that makes an image out of what the agent fetched: verifies, unpacks, checks, and only then names it.

Started by image.Images with an Order on stdin; says on stdout, a JSON object a line, how far it is and how it ended.
It holds a copy of the lock of all images, and is in the unpacker's cgroup: so the next launcher can end it.
"""

import contextlib
import errno
import json
import os
import pickle
import select
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

from agent.launcher import (
    blobs,
    cgroup,
    execute,
    idmap,
    layout,
    loop,
    monitor,
    mounts,
    plan,
    rootfs,
    seccomp,
    storage,
    unpacker,
)
from agent.launcher.image import Order
from agent.launcher.manifest import (
    CONFIG_BYTES,
    MANIFEST_BYTES,
    Author,
    ImageError,
    Manifest,
    read_config,
    read_manifest,
    shown,
)
from agent.launcher.protocol import DISK_ERRORS, LauncherError

_REPORT_BYTES = 16 << 20  # between two words about progress
_MKFS = "/usr/sbin/mkfs.ext4"
_INODE_BYTES = 16384  # mkfs.ext4's own ratio: one file for each
_INODES = 524_288  # of any image; Debian's largest have 200,000
_MKFS_SECONDS = 120.0
_RELEASE_SECONDS = 30.0
_UMOCI_SAYS = "\u2a2f create rootfs: unpack layer: "  # before each of its errors
_FULL = "no space left on device"


def main() -> int:
    order = pickle.load(sys.stdin.buffer)  # noqa: S301 as above
    try:
        execute.perform(unpacker.cgroups(order.host.tree))
        for group in plan.monitor_cgroups(unpacker.NAME, order.host.tree):
            (group / "cgroup.procs").write_text("0")
        if os.getppid() != order.parent:  # from here on whoever comes next finds us; before, nobody might have
            return 1
        _Work(order).make()
        _say(ended="ready")
    except ImageError as error:
        _say(ended="failed", message=str(error))
    except blobs.AbsentError as error:
        _say(ended="absent", message=str(error))
    except LauncherError as error:
        _say(ended="host", message=str(error), field=error.field)
    except OSError as error:
        field = "disk" if error.errno in DISK_ERRORS else ""
        _say(ended="host", message=f"{error.strerror}: {error.filename or order.partial}", field=field)
    return 0


def _say(**words: object) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


class _Work:
    """One image. What it leaves behind when it fails is below order.partial, and no mount."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._layout = order.partial / "layout"
        self._disk = order.partial / f"{order.digits}.img"
        self._bench = unpacker.bench(order.host.places, self._layout)
        self._done = self._total = self._told = 0

    def make(self) -> None:
        """Raises ImageError, AbsentError, LauncherError(host) and OSError."""
        partial = self._order.partial
        try:
            (self._layout / "blobs/sha256").mkdir(parents=True)
            for path in (partial, self._layout, self._layout / "blobs", self._layout / "blobs/sha256"):
                path.chmod(0o755)  # the unpacker comes as a mapped user
            manifest, author = self._fetch()
            size = self._make_disk()
            try:
                self._unpack()
                config = self._check(author)
            except ImageError:
                raise
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise self._full(size) from error
                raise
            finally:
                self._put_away()
            shutil.rmtree(self._layout)
            about = {"config": asdict(config), "total_bytes": sum(layer.size for layer in manifest.layers)}
            (partial / "image.json").write_text(json.dumps(about))
            self._name()
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    # --- what the agent fetched ---------------------------------------------------------------

    def _fetch(self) -> tuple[Manifest, Author]:
        """All of it as an OCI layout of our own, verified."""
        order = self._order
        with blobs.opened(order.image_dir) as directory:
            data = blobs.read(directory, order.image, "its manifest", MANIFEST_BYTES)
            manifest = read_manifest(data, order.max_image_bytes)
            data = blobs.read(directory, manifest.config.digest, "its config", CONFIG_BYTES)
            author = read_config(data, order.host.machine, len(manifest.layers))
            self._total = sum(layer.size for layer in manifest.layers)
            self._need_room(self._total)
            for number, layer in enumerate(manifest.layers, 1):
                into = self._layout / "blobs/sha256" / layer.digits
                if not into.exists():  # two layers may be the same
                    blobs.copy(directory, layer, f"layer {number}", into, self._copied)
        for name, text in unpacker.layout_files(manifest.layers, author.diff_ids).items():
            (self._layout / name).write_bytes(text)
        return manifest, author

    def _copied(self, size: int) -> None:
        self._done += size
        if self._done - self._told >= _REPORT_BYTES:
            self._told = self._done
            _say(done=self._done, total=self._total)

    def _room(self) -> int:
        disk = os.statvfs(self._order.partial)
        return storage.room(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)

    def _need_room(self, size: int) -> None:
        room = self._room()
        if size > room:
            raise LauncherError("host", f"the disk has room for {room} bytes more; the layers have {size}", "disk")

    # --- the file system ----------------------------------------------------------------------

    def _make_disk(self) -> int:
        """Make it, sparse, and mount it for the unpacker; its size is where a bomb ends."""
        size = min(self._order.max_image_bytes, self._room()) // 4096 * 4096
        if size < 1 << 20:
            raise LauncherError("host", "the disk has no room for an image", "disk")
        with self._disk.open("xb") as file:
            file.truncate(size)
        inodes = str(min(_INODES, max(64, size // _INODE_BYTES)))
        flags = ("-q", "-F", "-m", "0", "-O", "^has_journal", "-N", inodes)
        argv = (_MKFS, *flags, "-E", "nodiscard,assume_storage_prezeroed=1", str(self._disk))
        code, said = monitor.command(argv, seconds=_MKFS_SECONDS)
        if code != 0:
            raise LauncherError("host", f"mkfs.ext4: {said}", "disk" if _FULL in said.lower() else "")
        for path in (self._bench.root.parent.parent, self._bench.root.parent, self._bench.root):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o711)
        with loop.device(self._disk, read_only=False) as device:
            idmap.attach(device, self._bench.root, read_only=False, first_id=None)
        root = os.open(self._bench.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.rmdir("lost+found", dir_fd=root)
            os.fchown(root, storage.STORED_BASE, storage.STORED_BASE)
        finally:
            os.close(root)
        return size

    def _full(self, size: int) -> Exception:
        if size < self._order.max_image_bytes // 4096 * 4096:
            return LauncherError("host", f"the disk has room for {size} bytes more; the image needs more", "disk")
        most = self._order.max_image_bytes
        return ImageError(
            f"unpacks to more than {most} bytes or {size // _INODE_BYTES} files, the most on this machine"
        )

    def _check(self, author: Author) -> storage.ImageConfig:
        root = os.open(self._bench.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            config = rootfs.finish(root, author)
            idmap.sync(root)
        finally:
            os.close(root)
        return config

    def _put_away(self) -> None:
        """Unmount, and wait until the device has let go: only then is all of it in the file."""
        tree = self._order.host.tree
        cgroup.kill(tree, tree.job(unpacker.NAME))
        monitor.command(plan.runtime_argv(self._order.host, "delete", "--force", unpacker.NAME))
        mounts.unmount(self._bench.root)
        shutil.rmtree(self._bench.directory, ignore_errors=True)
        deadline = time.monotonic() + _RELEASE_SECONDS
        while loop.in_use(self._disk):
            if time.monotonic() > deadline:
                raise LauncherError("host", f"{self._disk}: its loop device stays busy")
            time.sleep(0.01)

    def _name(self) -> None:
        """The moment from which the image is there: everything of it is on disk before its name is."""
        partial = self._order.partial
        for path in (self._disk, partial / "image.json", partial):
            _sync(path)
        partial.rename(partial.parent / self._order.digits)
        _sync(partial.parent)

    # --- umoci --------------------------------------------------------------------------------

    def _unpack(self) -> None:
        _say(done=self._total, total=self._total)
        host, limit = self._order.host, self._order.seconds
        profile = seccomp.section(seccomp.read(), host.machine)
        shutil.rmtree(self._bench.directory, ignore_errors=True)  # of a launcher before us
        watched: list[int | None] = []
        execute.perform(
            unpacker.steps(self._bench, host, profile), created=lambda m, _: watched.append(monitor.open_pidfd(m))
        )
        if watched[0] is not None:
            with contextlib.closing(os.fdopen(watched[0])) as pidfd:
                if not select.select([pidfd], [], [], limit)[0]:
                    raise ImageError(f"takes longer than {limit} s to unpack")
        code = self._bench.exit.read_text() if self._bench.exit.exists() else "-1"
        if code == "0":
            return
        said = self._said()
        if said.lower().endswith(_FULL):  # at the end is the kernel's word; before it may be any, in a file's name
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if said.lower().endswith("input/output error"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self._disk))
        if (self._bench.directory / "oom").exists():
            raise ImageError("takes too much memory to unpack")
        if "lchown" in said and "invalid argument" in said:
            raise ImageError(f"a file's owner is not in 0..{layout.UID_COUNT - 1}: {shown(said)}")
        if not said:
            raise LauncherError("host", f"umoci ended with {code} and said nothing")
        raise ImageError(f"can't be unpacked: {shown(said)}")

    def _said(self) -> str:
        """The last of umoci's words, without conmon's time stamps."""
        try:
            lines = self._bench.log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        words = [line.split(" ", 3)[3].strip() for line in lines if line.count(" ") >= 3]  # TIME stderr F TEXT
        return next((word.removeprefix(_UMOCI_SAYS) for word in reversed(words) if word), "")


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
