"""Image archives that are pushed piece by piece, over a WAN that breaks: what has arrived stays arrived."""

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import sys
from functools import partial
from pathlib import Path

from agent.errors import CorruptError, EdgeError, RefusedError, StorageError
from agent.jobs.images import child
from agent.jobs.images.blobs import Blobs, in_thread
from agent.jobs.images.manifest import MAX_DOCUMENT_BYTES, read_index
from agent.jobs.images.sources import Layout, look

log = logging.getLogger(__name__)

MAX_PIECE_BYTES = 128 * 1024
_MOST_UPLOADS = 4
_ARCHIVE = Path(__file__).with_name("archive.py")
_SLACK_BYTES = 1 << 20
_READ_BYTES = 256 << 10  # no more, as in blobs


class Uploads:
    """An archive is a file named by its sha256, as long as what has arrived of it."""

    def __init__(self, directory: Path, blobs: Blobs, machine: str, most_bytes: int) -> None:
        self._directory, self._blobs = directory, blobs
        self._machine, self._most_bytes = machine, most_bytes
        self._whole: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: set[str] = set()
        self._refused: dict[str, EdgeError] = {}
        self._writing = asyncio.Lock()

    def prepare(self) -> None:
        """Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._directory.glob("*.unpacked"):
            shutil.rmtree(path, ignore_errors=True)

    @property
    def busy(self) -> bool:
        """An archive is becoming an image: blobs appear that belong to none yet."""
        return bool(self._waiting)

    async def put(self, sha256: bytes, total_bytes: int, offset: int, data: bytes) -> int:
        """Bytes that have arrived and are durable; once that is all of them, `run` makes an image of them.

        Raises RefusedError: a bound, an offset beyond or before what has arrived, an archive that was no image (once;
        it is then forgotten and may be pushed anew). Raises StorageError.
        """
        if len(sha256) != 32:
            raise RefusedError("BAD_REQUEST", f"archive_sha256 has 32 bytes, not {len(sha256)}")
        if not 1 <= total_bytes <= self._most_bytes:
            raise RefusedError(
                "NO_ROOM", f"an archive of {total_bytes} bytes: 1..{self._most_bytes} ([images] max_image_bytes)"
            )
        if len(data) > MAX_PIECE_BYTES:
            raise RefusedError("BAD_REQUEST", f"a piece has at most {MAX_PIECE_BYTES} bytes, not {len(data)}")
        name = sha256.hex()
        async with self._writing:
            if (refused := self._refused.pop(name, None)) is not None:
                raise refused
            received = await self._append(name, total_bytes, offset, data)
        if received == total_bytes and name not in self._waiting:
            self._waiting.add(name)
            self._whole.put_nowait(name)
        return received

    async def _append(self, name: str, total_bytes: int, offset: int, data: bytes) -> int:
        path = self._directory / name
        received = path.stat().st_size if path.exists() else 0
        if received > total_bytes:
            raise RefusedError("BAD_REQUEST", f"{received} bytes of this archive are here, more than {total_bytes}")
        if not data:
            return received
        if offset != received:
            raise RefusedError("CONFLICT", f"{received} bytes have arrived: send from there, not from {offset}")
        if offset + len(data) > total_bytes:
            raise RefusedError("BAD_REQUEST", f"bytes beyond the archive's {total_bytes}")
        if received == 0:
            self._admit(total_bytes)
        try:
            await in_thread(_write, path, offset, data)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(path, received)
            raise StorageError(f"{path}: {error.strerror}") from error
        return received + len(data)

    def _admit(self, total_bytes: int) -> None:
        under_way = [path for path in self._directory.iterdir() if path.is_file()]
        if len(under_way) >= _MOST_UPLOADS:
            # The one that moved last the longest ago was given up by whoever pushed it.
            oldest = min(under_way, key=lambda path: path.stat().st_mtime)
            if oldest.name in self._waiting:
                raise RefusedError("NO_ROOM", f"{_MOST_UPLOADS} archives are being pushed at once")
            oldest.unlink()
        self._blobs.check_room(2 * total_bytes)  # the archive, and its blobs

    async def run(self) -> None:
        """Makes images of whole archives, one after the other, until cancelled."""
        while True:
            name = await self._whole.get()
            try:
                digest = await self._convert(name)
            except EdgeError as error:
                log.warning("pushed archive refused", extra={"archive": name, "reason": error})
                self._refused[name] = error
                if not isinstance(error, StorageError):
                    (self._directory / name).unlink(missing_ok=True)
            else:
                log.info("image pushed", extra={"archive": name, "image": digest})
                (self._directory / name).unlink(missing_ok=True)
            finally:
                self._waiting.discard(name)

    async def _convert(self, name: str) -> str:
        archive, place = self._directory / name, self._directory / f"{name}.unpacked"
        if await _sha256(archive) != name:
            raise RefusedError("BAD_REQUEST", "the archive does not have the sha256 that was announced; push it anew")
        try:
            await in_thread(place.mkdir, mode=0o700)
            digest = await self._taken_apart(archive, place)
        except OSError as error:
            raise StorageError(f"{error.filename}: {error.strerror}") from error
        finally:
            await in_thread(shutil.rmtree, place, ignore_errors=True)
        self._blobs.resolve(digest.removeprefix("sha256:"), digest)
        self._blobs.resolve(name, digest)
        return digest

    async def _taken_apart(self, archive: Path, place: Path) -> str:
        """The digest of the archive's image, which is then among the blobs. Raises RefusedError, StorageError."""
        total = (await in_thread(archive.stat)).st_size
        argv = [sys.executable, "-I", str(_ARCHIVE), str(archive), str(place)]
        code = await child.run(argv, place, file_bytes=total, more_bytes=total + _SLACK_BYTES, stall_seconds=60.0)
        if code:
            said = (place / "err").read_bytes()[-300:].decode(errors="replace").strip()
            kind = StorageError if "No space" in said else partial(RefusedError, "BAD_REQUEST")
            raise kind(f"the archive is no OCI archive (skopeo copy ... oci-archive:FILE): {said}")
        layout = Layout(place, self._blobs, move=True)
        digest = _only_image(await in_thread(_document, place / "index.json"))
        try:
            found = await look(layout, digest, self._machine, self._most_bytes)
            if found is not None:
                return await layout.bring(found, lambda _: None)
        except (CorruptError, FileNotFoundError) as error:
            raise RefusedError("BAD_REQUEST", f"the archive is damaged: {error}") from error
        raise RefusedError("BAD_REQUEST", f"the archive lacks {digest} or a part of it")

    def forget_older(self, unix_seconds: float) -> None:
        """Remove what nobody has added to since then."""
        for path in self._directory.iterdir():
            if path.is_file() and path.name not in self._waiting and path.stat().st_mtime < unix_seconds:
                path.unlink(missing_ok=True)


def _document(path: Path) -> bytes:
    """Empty when there is none."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_DOCUMENT_BYTES)
    except FileNotFoundError:
        return b""


def _only_image(index: bytes) -> str:
    """Raises RefusedError unless an archive's index.json names one image."""
    choices = read_index(index)
    if len(choices) != 1:
        raise RefusedError("BAD_REQUEST", f"the archive has {len(choices)} images; push one")
    return choices[0].digest


def _write(path: Path, offset: int, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        written = 0
        while written < len(data):
            written += os.pwrite(fd, data[written:], offset + written)
        os.fsync(fd)
    finally:
        os.close(fd)


async def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while data := await in_thread(file.read, _READ_BYTES):
                await in_thread(digest.update, data)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    return digest.hexdigest()
