"""Takes blobs out of the agent's store, which is a stranger's: no link followed, every byte counted and hashed."""

import hashlib
import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from agent.launcher.manifest import Blob, ImageError

_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class AbsentError(Exception):
    """The agent has not fetched it, or not all of it."""


@contextmanager
def opened(image_dir: Path) -> Generator[int]:
    """The directory of blobs in the layout at `image_dir`: a descriptor. Raises AbsentError, ImageError."""
    fd = -1
    try:
        try:
            fd = os.open(image_dir, _DIRECTORY)
            for name in ("blobs", "sha256"):
                inner = os.open(name, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = inner
        except FileNotFoundError:
            raise AbsentError(f"{image_dir}: no layout there yet") from None
        except OSError as error:
            raise ImageError(f"{image_dir}: not a layout's directory: {error.strerror}") from error
        yield fd
    finally:
        if fd >= 0:
            os.close(fd)


def read(directory: int, digest: str, what: str, most: int) -> bytes:
    """The whole blob. Raises AbsentError; ImageError when it has more than `most` bytes or isn't what its name says."""
    with _blob(directory, digest, what) as fd:
        data = b""
        while len(data) <= most and (part := os.read(fd, most + 1 - len(data))):
            data += part
    if len(data) > most:
        raise ImageError(f"{what} has more than {most} bytes")
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise ImageError(f"{what} is not what its digest says")
    return data


def copy(directory: int, blob: Blob, what: str, into: Path, progress: Callable[[int], None]) -> None:
    """Into a new file; `progress(bytes)` for each part. Raises AbsentError, ImageError and OSError."""
    seen = hashlib.sha256()
    size = 0
    with _blob(directory, blob.digest, what) as fd, into.open("xb") as out:
        while part := os.read(fd, _CHUNK):
            size += len(part)
            if size > blob.size:
                raise ImageError(f"{what} has more than the {blob.size} bytes that the manifest says")
            seen.update(part)
            out.write(part)
            progress(len(part))
    if size < blob.size:
        raise ImageError(f"{what} is cut short: {size} of {blob.size} bytes")
    if f"sha256:{seen.hexdigest()}" != blob.digest:
        raise ImageError(f"{what} is not what its digest says")


@contextmanager
def _blob(directory: int, digest: str, what: str) -> Generator[int]:
    try:  # not blocking: a FIFO would wait for a writer who never comes
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(digest.removeprefix("sha256:"), flags, dir_fd=directory)
    except FileNotFoundError:
        raise AbsentError(f"{what} is not here yet") from None
    except OSError as error:
        raise ImageError(f"{what} can't be read: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ImageError(f"{what} is not a file")
        yield fd
    finally:
        os.close(fd)
