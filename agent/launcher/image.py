"""The images of this machine: unpacked in the background, one at a time, whole or not at all; lent to runs read-only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.launcher import layout, storage
from agent.launcher.layout import Places
from agent.launcher.operation import MakeDirectory, Plan, Unmount
from agent.launcher.protocol import ImageState, LauncherError
from agent.launcher.storage import MountFile


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What the image's author wants run when the request doesn't say; ids are inside the run's namespace."""

    command: tuple[str, ...]  # Entrypoint, then Cmd; may be empty
    env: Mapping[str, str]
    cwd: str
    uid: int
    gid: int


def file(places: Places, image: str) -> Path:
    digits = image.removeprefix("sha256:")
    return storage.images(places) / digits / f"{digits}.img"


def root(places: Places, run: str) -> Path:
    """The root directory in config.json of a run with an image."""
    return storage.root(places, run)


def attach(image: str, run: str, slot: int, host: layout.Host) -> Plan:
    """Before the sandbox is created, after Images.config said that the image is ready."""
    path = root(host.places, run)
    first = layout.uid_base(slot) if host.facts.idmap else None
    return (
        MakeDirectory(path.parent.parent, 0o711),
        MakeDirectory(path.parent, 0o711),
        MakeDirectory(path, 0o711),
        MountFile(file(host.places, image), path, read_only=True, first_id=first),
    )


def detach(run: str, host: layout.Host) -> Plan:
    """Once the sandbox is created: it has a mount of its own."""
    return (Unmount(root(host.places, run)),)


class Images:
    def __init__(self, host: layout.Host, image_dir: Path, max_image_bytes: int) -> None:
        self._host = host
        self._image_dir = image_dir
        self._max_image_bytes = max_image_bytes

    def adopt(self) -> None:
        """Take away what an earlier launcher left half done. Call it before anything else, after cgroup.prepare."""

    def ask(self, image: str) -> ImageState:
        """The image's state; begins to unpack it in a process of its own. Raises LauncherError(host)."""
        return ImageState(image, "absent")

    def states(self) -> list[ImageState]:
        return []

    def config(self, image: str) -> ImageConfig:
        """Of a ready image, which is marked as used. Raises LauncherError(not-found) when it isn't ready."""
        raise LauncherError("not-found", f"image {image} is not unpacked here", "image")

    def remove(self, image: str) -> None:
        """The caller knows that no run uses it. Raises LauncherError(not-found or conflict)."""
        raise LauncherError("not-found", f"no image {image}", "image")
