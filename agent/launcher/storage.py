"""Where images and disks are, and the steps that attach them to a run: described before they are done. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.launcher.layout import UID_COUNT, Places

# On disk every file of an image or a disk belongs to this range, and each run's mount maps it to the run's own: what
# one run writes, the next reads, whatever their ranges. Above all slots (layout.uid_base); also the unpacker's own.
STORED_BASE = 0x7400_0000
UNPACKER = "_unpack"  # the name of its sandbox and cgroup, which no run can have


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What the image's author wants run when the request doesn't say; ids are inside the run's namespace."""

    command: tuple[str, ...]  # Entrypoint, then Cmd; may be empty
    env: Mapping[str, str]
    cwd: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class MakeDisk:
    """An ext4 file with all of its blocks reserved: made, checked after an unclean end, grown; never shrunk."""

    file: Path
    size_bytes: int

    def describe(self) -> str:
        return f"make or check disk {self.file} ({self.size_bytes} bytes, reserved)"


@dataclass(frozen=True, slots=True)
class MountFile:
    """The file system inside `file`, nosuid and nodev, by a loop device that goes with the last mount.

    `first_id` is the user and group id on the host of the file system's own id 0; None shows all as nobody's.
    """

    file: Path
    path: Path
    read_only: bool
    first_id: int | None

    def describe(self) -> str:
        ids = "unmapped" if self.first_id is None else f"ids 0..{UID_COUNT - 1} as {self.first_id}.."
        return f"mount -o loop,nosuid,nodev,{'ro' if self.read_only else 'rw'} ({ids}) {self.file} {self.path}"


@dataclass(frozen=True, slots=True)
class LimitDevice:
    """Write to the cgroup files a bound for the device mounted at `path`: each way, v2 (io.max) or v1 (blkio)."""

    path: Path
    files: tuple[Path, ...]
    bytes_per_second: int

    def describe(self) -> str:
        return f"limit io of {self.path} to {self.bytes_per_second} bytes/s: {' '.join(map(str, self.files))}"


Step = MakeDisk | MountFile | LimitDevice


def images(places: Places) -> Path:
    return places.state_dir / "images"


def disks(places: Places) -> Path:
    return places.state_dir / "disks"


def mounts(places: Places) -> Path:
    """Mount points of the runs that are being made; a sandbox that stands has mounts of its own."""
    return places.run_dir / "mounts"


def root(places: Places, run: str) -> Path:
    return mounts(places) / run / "root"


def work(places: Places, run: str) -> Path:
    return mounts(places) / run / "work"


def room(free_bytes: int, total_bytes: int) -> int:
    """What images and disks may take of the free bytes: the store's own services need some of any disk."""
    return max(0, free_bytes - min(total_bytes // 20, 1 << 30))
