"""The blobs that the launcher unpacks from: <images>/blobs/sha256/HEX, whole and verified, a manifest last."""

import asyncio
import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import ParamSpec, TypeVar

from agent.errors import CorruptError, RefusedError, StorageError
from agent.fsio import sync_directory, write_atomic
from agent.jobs.images.manifest import MAX_DOCUMENT_BYTES, Blob, Manifest, digest_of, read

P = ParamSpec("P")
T = TypeVar("T")

_PIECE_BYTES = 256 << 10  # malloc keeps what was as large as this once: 4 MiB pieces left 3.7 MB in the process
_ROOM_BYTES = 64 << 20  # stays free: the spool and the rest of the box live on this disk too


class Blobs:
    """Its methods raise StorageError when the disk is full or fails."""

    def __init__(self, images: Path) -> None:
        self._images, self._directory = images, images / "blobs" / "sha256"
        self._resolved = images / "resolved"
        self._numbers = itertools.count()

    def prepare(self) -> None:
        """Make the directories and remove what a power cut left half written. Raises OSError."""
        for directory in (self._directory, self._resolved):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for path in self._directory.glob(".*"):
            path.unlink()

    # --- what is here --------------------------------------------------------------------------

    def manifest(self, digest: str) -> bytes | None:
        """The manifest or index, verified; None when it isn't here. A damaged one isn't here, and is removed."""
        path = self._directory / digest.removeprefix("sha256:")
        try:
            if path.stat().st_size > MAX_DOCUMENT_BYTES:
                return None
            data = path.read_bytes()
        except OSError:
            return None
        if digest_of(data) != digest:
            path.unlink(missing_ok=True)
            return None
        return data

    def image(self, digest: str) -> Manifest | None:
        """The image's manifest when it and all it names are here."""
        if (data := self.manifest(digest)) is None:
            return None
        try:
            manifest = read(data, digest)
        except RefusedError:
            return None
        whole = isinstance(manifest, Manifest) and all(self.has(blob) for blob in manifest.blobs)
        return manifest if whole and isinstance(manifest, Manifest) else None

    def has(self, blob: Blob) -> bool:
        try:
            return (self._directory / blob.hex).stat().st_size == blob.size_bytes
        except OSError:
            return False

    def digests(self) -> tuple[str, ...]:
        """Images that were fetched or pushed, whole or not: all that anything was resolved to."""
        return tuple(sorted(set(self.resolutions().values())))

    def used_unix_nano(self, digest: str) -> int:
        """When the manifest was put here; 0 when it isn't."""
        try:
            return (self._directory / digest.removeprefix("sha256:")).stat().st_mtime_ns
        except OSError:
            return 0

    # --- what stands for what ------------------------------------------------------------------

    def resolved(self, hexes: str) -> str:
        """The digest of this machine's manifest, for a digest that a job names or the sha256 of an archive; or ""."""
        try:
            text = (self._resolved / hexes).read_text()
        except OSError:
            return ""
        return text if len(text) == len("sha256:") + 64 else ""

    def resolutions(self) -> dict[str, str]:
        names = [path.name for path in self._resolved.glob("[0-9a-f]*")]
        return {name: digest for name in names if (digest := self.resolved(name))}

    def resolve(self, hexes: str, digest: str) -> None:
        with _storage():
            write_atomic(self._resolved / hexes, digest.encode(), mode=0o644)

    def forget(self, hexes: str) -> None:
        (self._resolved / hexes).unlink(missing_ok=True)

    # --- bringing in, throwing out -------------------------------------------------------------

    def check_room(self, need_bytes: int) -> None:
        """Raises StorageError, with how much is missing."""
        with _storage():
            facts = os.statvfs(self._images)
        free = facts.f_bavail * facts.f_frsize - _ROOM_BYTES
        if need_bytes > free:
            raise StorageError(f"{self._images}: {need_bytes} bytes are needed, {max(free, 0)} are free")

    async def adopt(self, blob: Blob, source: Path, *, move: bool, moved: Callable[[int], None]) -> None:
        """Take a blob in from a file that may be anything: copied or moved once it hashes to its name.

        Raises CorruptError when it doesn't, FileNotFoundError when it isn't there; a moved file is then removed.
        """
        if self.has(blob):
            return
        part = self._directory / f".{blob.hex}-{next(self._numbers)}"
        with _storage(), contextlib.ExitStack() as files:
            incoming = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            files.callback(os.close, incoming)
            outgoing = None if move else os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            if outgoing is not None:
                files.callback(part.unlink, missing_ok=True)
                files.callback(os.close, outgoing)
            if await _hashed(incoming, outgoing, blob.size_bytes, moved) != blob.hex:
                if move:
                    await in_thread(source.unlink, missing_ok=True)
                raise CorruptError(f"blob {blob.hex[:12]} is not what its name says")
            await in_thread(os.fsync, incoming if outgoing is None else outgoing)
            os.fchmod(incoming if outgoing is None else outgoing, 0o644)
            (source if move else part).replace(self._directory / blob.hex)

    def lend(self, blob: Blob, path: Path) -> None:
        """A hard link to a blob that is here, for whoever would fetch it otherwise. Raises OSError."""
        if self.has(blob) and not path.exists():
            path.hardlink_to(self._directory / blob.hex)

    def seal(self, data: bytes) -> None:
        """Write a manifest whose blobs have all been adopted: from now on the image is here."""
        with _storage():
            sync_directory(self._directory)
            write_atomic(self._directory / digest_of(data).removeprefix("sha256:"), data, mode=0o644)

    def drop(self, digest: str) -> None:
        """Remove an image's manifest, then its blobs; not those that other images here share."""
        gone = self.image(digest)
        with _storage():
            (self._directory / digest.removeprefix("sha256:")).unlink(missing_ok=True)
            if gone is None:
                return
            sync_directory(self._directory)
            shared = {blob.hex for other in self.digests() if (kept := self.image(other)) for blob in kept.blobs}
            for blob in gone.blobs:
                if blob.hex not in shared:
                    (self._directory / blob.hex).unlink(missing_ok=True)

    def sweep(self, keep: Iterable[str]) -> None:
        """Remove every blob that belongs to none of the images in `keep` (digests)."""
        named = {digest.removeprefix("sha256:") for digest in keep}
        for digest in tuple(named):
            if manifest := self.image(f"sha256:{digest}"):
                named |= {blob.hex for blob in manifest.blobs}
        for path in self._directory.glob("[0-9a-f]*"):
            if path.name not in named:
                path.unlink(missing_ok=True)


async def _hashed(incoming: int, outgoing: int | None, size_bytes: int, moved: Callable[[int], None]) -> str:
    """The sha256 of `incoming`, or "" when it is longer or shorter than it should be."""
    digest, total = hashlib.sha256(), 0

    def piece() -> int:
        data = os.read(incoming, _PIECE_BYTES)
        digest.update(data)
        if outgoing is not None:
            view = memoryview(data)
            while view:
                view = view[os.write(outgoing, view) :]
        return len(data)

    while (count := await in_thread(piece)) and total <= size_bytes:
        total += count
        moved(total)
    return digest.hexdigest() if total == size_bytes else ""


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Work off the loop. A caller that is cancelled still waits for it: its files must not be closed under it."""
    running = asyncio.get_running_loop().run_in_executor(None, lambda: work(*args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


@contextlib.contextmanager
def _storage() -> Generator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"images: {error.filename or ''}: {error.strerror}") from error
