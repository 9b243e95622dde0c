"""Where an image may come from: a layout directory on this box, or the registry that its name says."""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.errors import CorruptError, RefusedError
from agent.jobs.images.blobs import Blobs, in_thread
from agent.jobs.images.manifest import (
    MAX_DOCUMENT_BYTES,
    Index,
    Manifest,
    check_platform,
    check_size,
    choose,
    digest_of,
    read,
    same_layers,
)
from agent.jobs.images.reference import Reference
from agent.jobs.images.skopeo import Skopeo

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """This machine's manifest of an image, before anything big is moved."""

    digest: str
    data: bytes
    manifest: Manifest


class Source(Protocol):
    """Both raise AwayError, StorageError, CorruptError, and RefusedError for what would be wrong for ever."""

    async def document(self, digest: str, *, config: bool = False) -> bytes | None:
        """A manifest or index, or the configuration of the manifest with this digest; None: it isn't there."""
        ...

    async def bring(self, found: Found, moved: Callable[[int], None]) -> str:
        """Put the image into the blobs; its digest, another one when the manifest had to be converted."""
        ...


async def look(source: Source, digest: str, machine: str, most_bytes: int) -> Found | None:
    """What `source` has for `digest`, checked for size and platform; None when it has nothing.

    Raises RefusedError for an image that can't be used here.
    """
    data = await source.document(digest)
    if data is None:
        return None
    document = read(data, digest)
    if isinstance(document, Index):
        digest = choose(document, machine)
        if (data := await source.document(digest)) is None:
            return None
        document = read(data, digest)
    if isinstance(document, Index):
        raise RefusedError("BAD_REQUEST", f"{digest} is an index within an index")
    check_size(document, most_bytes)
    config = await source.document(digest, config=True)
    if config is None:
        return None
    if digest_of(config) != f"sha256:{document.config.hex}":
        raise CorruptError(f"the configuration of {digest} is not the one that its manifest names")
    check_platform(config, machine)
    return Found(digest, data, document)


@dataclass(frozen=True, slots=True)
class Layout:
    """An OCI layout directory; whoever made it isn't trusted, and it may vanish at any moment. `move`: it is ours."""

    directory: Path
    blobs: Blobs
    move: bool = False

    async def document(self, digest: str, *, config: bool = False) -> bytes | None:
        data = await in_thread(self._read, digest.removeprefix("sha256:"))
        if data is None or not config:
            return data
        manifest = read(data, digest)
        return await in_thread(self._read, manifest.config.hex) if isinstance(manifest, Manifest) else None

    def _read(self, hexes: str) -> bytes | None:
        try:
            fd = os.open(self._path(hexes), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                return file.read(MAX_DOCUMENT_BYTES)
        except OSError:
            return None

    async def bring(self, found: Found, moved: Callable[[int], None]) -> str:
        if found.manifest.docker:
            raise RefusedError("BAD_REQUEST", f"{self.directory}: {found.digest} is Docker's, not OCI; use skopeo copy")
        done = 0

        def adding(count: int) -> None:
            moved(done + count)

        for blob in found.manifest.blobs:
            await self.blobs.adopt(blob, self._path(blob.hex), move=self.move, moved=adding)
            done += blob.size_bytes
        self.blobs.seal(found.data)
        return found.digest

    def _path(self, hexes: str) -> Path:
        return self.directory / "blobs" / "sha256" / hexes


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry of a reference, by way of skopeo. `place` is where blobs gather until they are all there."""

    reference: Reference
    skopeo: Skopeo
    blobs: Blobs
    place: Path

    async def document(self, digest: str, *, config: bool = False) -> bytes | None:
        await in_thread(self.place.mkdir, mode=0o700, parents=True, exist_ok=True)
        return await self.skopeo.document(self.reference, digest, self.place, config=config)

    async def bring(self, found: Found, moved: Callable[[int], None]) -> str:
        """What an earlier try has fetched is not fetched again, nor is a layer that another image here has."""
        self._tidy(found.manifest)
        largest = max(blob.size_bytes for blob in found.manifest.blobs)
        await self.skopeo.pull(
            self.reference,
            found.digest,
            self.place,
            largest_bytes=largest,
            total_bytes=found.manifest.total_bytes,
            moved=moved,
        )
        digest = await _gather(self.place / "layout", self.blobs, found)
        await in_thread(shutil.rmtree, self.place, ignore_errors=True)
        return digest

    def _tidy(self, manifest: Manifest) -> None:
        gathered = self.place / "layout" / "blobs" / "sha256"
        gathered.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Half a blob; and documents that a power cut may have emptied, on which skopeo would stumble for ever.
        for pattern in ("oci-put-blob*", "index.json", "oci-layout"):
            for path in (self.place / "layout").glob(pattern):
                path.unlink(missing_ok=True)
        for blob in manifest.blobs:
            path = gathered / blob.hex
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size != blob.size_bytes:  # renamed, but never written: what a power cut leaves
                    path.unlink()
            with contextlib.suppress(OSError):
                self.blobs.lend(blob, path)


async def _gather(layout: Path, blobs: Blobs, found: Found) -> str:
    """Take the one image of a layout that skopeo wrote into the blobs; its digest.

    Raises CorruptError when it isn't the image that was `found`, StorageError, RefusedError.
    """
    digest, data, manifest = await in_thread(_written, layout)
    if digest != found.digest:
        if not found.manifest.docker or not same_layers(found.manifest, manifest):
            raise CorruptError(f"{digest} was fetched for {found.digest}")
        log.info("converted from Docker's format", extra={"image": found.digest, "to": digest})
    for blob in manifest.blobs:
        await blobs.adopt(blob, layout / "blobs" / "sha256" / blob.hex, move=True, moved=lambda _: None)
    blobs.seal(data)
    return digest


def _written(layout: Path) -> tuple[str, bytes, Manifest]:
    index = json.loads((layout / "index.json").read_bytes())
    (line,) = index["manifests"]
    digest: str = line["digest"]
    data = (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
    manifest = read(data, digest)
    if isinstance(manifest, Index):
        raise RefusedError("BAD_REQUEST", f"{digest} is an index, not an image")
    return digest, data, manifest
