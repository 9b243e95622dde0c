"""The images of this machine: unpacked in a process of its own, one at a time, whole or not at all; lent read-only."""

import fcntl
import json
import os
import shutil
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.launcher import cgroup, idmap, layout, loop, monitor, storage
from agent.launcher.layout import Places
from agent.launcher.operation import MakeDirectory, Plan, Unmount
from agent.launcher.protocol import ImageState, LauncherError
from agent.launcher.storage import ImageConfig, MountFile

_PARTIAL = ".partial"
_ADOPT_SECONDS = 15.0
_SAID_BYTES = 1 << 16  # the last of it
_WAITING = 32  # images that are to be unpacked
_REMEMBERED = 32  # attempts that made no image
_MESSAGE_LETTERS = 500


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


@dataclass(frozen=True, slots=True)
class Order:
    """What the unpacking process (unpack.py) is told."""

    image: str
    host: layout.Host
    image_dir: Path  # of the agent, who is not trusted
    max_image_bytes: int  # of the layers, and of what they unpack to
    seconds: float  # the most that umoci may take
    parent: int  # pid of the launcher

    @property
    def digits(self) -> str:
        return self.image.removeprefix("sha256:")

    @property
    def partial(self) -> Path:
        return storage.images(self.host.places) / f"{self.digits}{_PARTIAL}"


@dataclass(slots=True)
class _Child:
    image: str
    pid: int
    said: int  # a descriptor of what it wrote so far
    last: dict[str, Any]  # of each word the latest


def end_unpacker(host: layout.Host) -> None:
    """Kill what is left of an unpacking, and forget its sandbox."""
    tree, state = host.tree, host.places.runtime / storage.UNPACKER
    cgroup.kill(tree, tree.run(storage.UNPACKER))
    if state.exists():
        monitor.command((str(host.runtime), f"--root={state.parent}", "delete", "--force", storage.UNPACKER))
    cgroup.clear(tree, tree.run(storage.UNPACKER))


def purge(host: layout.Host) -> None:
    """Remove every image and every disk, and what was mounted of them. No run is left."""
    end_unpacker(host)
    idmap.clear(storage.mounts(host.places))
    for path in (storage.mounts(host.places), storage.images(host.places), storage.disks(host.places)):
        if path.exists():
            shutil.rmtree(path)
    shutil.rmtree(host.places.run_dir / "unpack", ignore_errors=True)


class Images:
    """Nothing watches the child: how far it is, is read when somebody asks. It bounds its own time."""

    def __init__(
        self,
        host: layout.Host,
        image_dir: Path,
        max_image_bytes: int,
        *,
        seconds: float = 1800.0,
        python: str = sys.executable,
    ) -> None:
        self._host = host
        self._image_dir = image_dir
        self._max_image_bytes = max_image_bytes
        self._seconds = seconds
        self._python = python
        self._top = storage.images(host.places)
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._wanted: list[str] = []  # in the order of asking; the first may be the child's
        self._over: dict[str, dict[str, Any]] = {}  # how attempts ended that made no image
        self._held = -1

    def adopt(self) -> None:
        """Take away what an earlier launcher left half done; call it before anything else. Raises LauncherError(host).

        Its child may live: each has a copy of one lock and is in one cgroup.
        """
        self._top.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._top.chmod(0o711)
        self._held = os.open(self._top / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _ADOPT_SECONDS
        while True:
            end_unpacker(self._host)
            try:
                fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LauncherError("host", "an unpacker of an earlier launcher does not end") from None
                time.sleep(0.02)
        idmap.clear(storage.mounts(self._host.places))
        for path in self._top.glob(f"*{_PARTIAL}"):
            shutil.rmtree(path)

    def close(self) -> None:
        """Let go of the lock, as the end of the process would; what is under way goes on."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def ask(self, image: str) -> ImageState:
        """The image's state; begins to unpack it when it isn't here. Raises LauncherError(host): why it failed."""
        with self._lock:
            self._look()
            over = self._over.get(image, {})
            if over.get("ended") in ("host", "absent"):
                del self._over[image]  # these pass: the next question tries again
            if over.get("ended") == "host":
                message = str(over.get("message"))[:_MESSAGE_LETTERS]
                raise LauncherError("host", f"{image}: {message}", str(over.get("field", "")))
            state = self._state(image, over)
            if state.state == "absent" and not over and self._fetched(image):
                if len(self._wanted) >= _WAITING:
                    raise LauncherError("conflict", f"{_WAITING} images wait to be unpacked; ask again", "image")
                self._wanted.append(image)
                self._look()
                state = self._state(image, {})
            return state

    def states(self) -> list[ImageState]:
        """All that are here, are being unpacked, or were refused."""
        with self._lock:
            self._look()
            here = {f"sha256:{path.name}" for path in self._top.glob("[0-9a-f]*") if path.name.isalnum()}
            names = sorted(here | set(self._wanted) | set(self._over))
            return [self._state(name, self._over.get(name, {})) for name in names]

    def config(self, image: str) -> ImageConfig:
        """Of a ready image, which is marked as used now. Raises LauncherError(not-found) when it isn't ready."""
        about = self._about(image)
        if about is None:
            raise LauncherError("not-found", f"image {image} is not unpacked here", "image")
        os.utime(self._record(image))
        config: dict[str, Any] = about["config"]
        config["command"] = tuple(config["command"])
        return ImageConfig(**config)

    def remove(self, image: str) -> None:
        """The caller knows that no run uses it. Raises LauncherError(not-found or conflict)."""
        with self._lock:
            self._look()
            if image in self._wanted:
                raise LauncherError("conflict", f"image {image} is being unpacked", "image")
            refused = self._over.pop(image, None)
            path = self._record(image).parent
            if not path.exists():
                if refused is None:
                    raise LauncherError("not-found", f"no image {image}", "image")
                return
            if loop.in_use(file(self._host.places, image)):
                raise LauncherError("conflict", f"image {image} is in use", "image")
            gone = path.with_name(path.name + _PARTIAL)
            path.rename(gone)  # never half an image
            shutil.rmtree(gone)

    # --- inside -------------------------------------------------------------------------------

    def _record(self, image: str) -> Path:
        return file(self._host.places, image).with_name("image.json")

    def _about(self, image: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._record(image).read_text())
        except FileNotFoundError:
            return None
        return found

    def _fetched(self, image: str) -> bool:
        """The agent seems to have it; what it really has, the child sees."""
        return (self._image_dir / "blobs/sha256" / image.removeprefix("sha256:")).exists()

    def _state(self, image: str, over: dict[str, Any]) -> ImageState:
        if image in self._wanted:
            last = self._child.last if self._child and self._child.image == image else {}
            return ImageState(image, "unpacking", "", int(last.get("done", 0)), int(last.get("total", 0)))
        about = self._about(image)
        if about is not None:
            total, used = int(about["total_bytes"]), self._record(image).stat().st_mtime_ns
            disk = file(self._host.places, image).stat().st_blocks * 512
            return ImageState(image, "ready", "", total, total, disk, used)
        message = str(over.get("message", ""))[:_MESSAGE_LETTERS]
        return ImageState(image, "failed" if over.get("ended") == "failed" else "absent", message)

    def _look(self) -> None:
        """What became of the child; start the next."""
        if self._child is not None:
            self._read(self._child)
            if os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG) is None:
                return
            self._read(self._child)
            self._finish(self._child)
        while self._wanted and self._child is None:
            if self._about(self._wanted[0]) is not None:
                self._wanted.pop(0)
            else:
                self._child = self._start(self._wanted[0])

    def _read(self, child: _Child) -> None:
        size = os.fstat(child.said).st_size
        lines = os.pread(child.said, _SAID_BYTES, max(0, size - _SAID_BYTES)).splitlines(keepends=True)
        if lines and lines[-1].endswith(b"\n"):
            child.last |= json.loads(lines[-1])
        elif len(lines) > 1:
            child.last |= json.loads(lines[-2])

    def _finish(self, child: _Child) -> None:
        os.close(child.said)
        self._child = None
        self._wanted.remove(child.image)
        if "ended" not in child.last:  # killed, or a bug of ours
            child.last |= {"ended": "host", "message": "the unpacking process ended without a word; see the log"}
        end_unpacker(self._host)
        if child.last["ended"] != "ready":
            self._over[child.image] = child.last
            while len(self._over) > _REMEMBERED:
                del self._over[next(iter(self._over))]
            idmap.clear(storage.mounts(self._host.places), storage.UNPACKER)
            shutil.rmtree(self._top / f"{child.image.removeprefix('sha256:')}{_PARTIAL}", ignore_errors=True)

    def _end_unpacker(self) -> None:
        end_unpacker(self._host)

    def _start(self, image: str) -> _Child:
        import pickle  # noqa: PLC0415 for this alone; read by our own child

        order = Order(image, self._host, self._image_dir, self._max_image_bytes, self._seconds, os.getpid())
        told, said = os.memfd_create("order"), os.memfd_create("said")
        with os.fdopen(told, "wb") as stdin:
            stdin.write(pickle.dumps(order))
            stdin.flush()
            stdin.seek(0)
            actions = [
                (os.POSIX_SPAWN_DUP2, told, 0),
                (os.POSIX_SPAWN_DUP2, said, 1),
                (os.POSIX_SPAWN_DUP2, self._held, 3),
            ]
            environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])}
            argv = (self._python, "-P", "-s", "-B", "-m", "agent.launcher.unpack")
            try:
                pid = os.posix_spawn(self._python, argv, environment, file_actions=actions)
            except OSError:
                os.close(said)
                raise
        return _Child(image, pid, said, {})
