"""Runs skopeo as a child with bounds of ours: on what it writes, on how long it may move nothing, on whom it trusts.

docs/decisions/0070-skopeo.md says why skopeo, and which bounds it lacks.
"""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.config.schema import ImagesConfig
from agent.errors import AwayError, CorruptError, EdgeError, RefusedError, StorageError
from agent.fsio import write_atomic
from agent.jobs.images.blobs import in_thread
from agent.jobs.images.manifest import MAX_DOCUMENT_BYTES, architecture
from agent.jobs.images.reference import Reference

_POLL_SECONDS = 0.25
_MOST_FILES = 5000
_SLACK_BYTES = 1 << 20  # documents, skopeo's own cache of blob locations (64 KiB)
_PASSED_ON = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE")
# The digest is what is trusted, and is checked here; where the bytes come from doesn't matter.
_ACCEPT = {"": [{"type": "insecureAcceptAnything"}]}
_POLICY = {"default": [{"type": "reject"}], "transports": {"docker": _ACCEPT, "oci-archive": _ACCEPT}}


class Skopeo:
    """Works in a directory of its own; one call at a time in each `place` within it."""

    def __init__(self, config: ImagesConfig, directory: Path, machine: str) -> None:
        self._config, self._directory, self._machine = config, directory, machine

    def prepare(self) -> None:
        """The files that skopeo is pointed at. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self._directory / "policy.json", json.dumps(_POLICY).encode())
        write_atomic(self._directory / "auth.json", b'{"auths":{}}')

    async def document(self, reference: Reference, digest: str, place: Path, *, config: bool = False) -> bytes:
        """The manifest or index with this digest as the registry sends it, or the image's configuration; unchecked.

        Raises AwayError, StorageError.
        """
        words = ["inspect", "--raw", *(["--config"] if config else []), *self._access("", reference)]
        await self._run([*words, f"docker://{reference.name}@{digest}"], place, MAX_DOCUMENT_BYTES, 0, _quiet)
        return _read(place / "out", MAX_DOCUMENT_BYTES)

    async def pull(
        self,
        reference: Reference,
        digest: str,
        place: Path,
        *,
        largest_bytes: int,
        total_bytes: int,
        moved: Callable[[int], None],
    ) -> None:
        """Copy an image into the OCI layout `place`/layout; blobs that are there are not fetched again.

        Raises AwayError, StorageError, or CorruptError when what came isn't what was pinned.
        """
        words = ["copy", *self._access("src-", reference), f"docker://{reference.name}@{digest}"]
        await self._run([*words, f"oci:{place}/layout:image"], place, largest_bytes, total_bytes, moved)

    async def convert(self, archive: Path, place: Path, total_bytes: int) -> None:
        """As `pull`, from an OCI archive, which skopeo unpacks beside the layout. Raises RefusedError for a bad one."""
        words = ["copy", "--preserve-digests", f"oci-archive:{archive}", f"oci:{place}/layout:image"]
        try:
            await self._run(words, place, total_bytes, 2 * total_bytes, _quiet)
        except (AwayError, CorruptError) as error:
            raise RefusedError("BAD_REQUEST", f"the archive is no OCI image that can be used here: {error}") from error

    def _access(self, side: str, reference: Reference) -> list[str]:
        secure = reference.registry not in self._config.insecure_registries
        auth = self._config.auth_file or self._directory / "auth.json"
        return [f"--{side}authfile" if side else "--authfile", str(auth), f"--{side}tls-verify={str(secure).lower()}"]

    async def _run(
        self, words: Sequence[str], place: Path, file_bytes: int, total_bytes: int, moved: Callable[[int], None]
    ) -> None:
        most_bytes = await in_thread(size_of, place) + total_bytes + _SLACK_BYTES + MAX_DOCUMENT_BYTES
        argv = [
            # Dies with the agent: nobody would watch it. RLIMIT_FSIZE stops a file the moment it is too long.
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *("prlimit", f"--fsize={file_bytes + _SLACK_BYTES}", "--core=0", "--"),
            *("skopeo", "--policy", str(self._directory / "policy.json")),
            *("--override-os", "linux", "--override-arch", architecture(self._machine)),
            *words,
        ]
        with contextlib.ExitStack() as files:
            out, err = (files.enter_context((place / name).open("wb")) for name in ("out", "err"))
            try:
                process = await asyncio.create_subprocess_exec(
                    *argv, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=err, env=_environment(place), cwd=place
                )
            except OSError as error:
                raise AwayError(f"{error.filename or argv[0]}: {error.strerror}; images need util-linux") from error
            try:
                await self._watch(process, place, most_bytes, moved)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode != 0:
            raise failure((place / "err").read_bytes()[-4096:].decode(errors="replace"), process.returncode or 0)

    async def _watch(
        self, process: asyncio.subprocess.Process, place: Path, most_bytes: int, moved: Callable[[int], None]
    ) -> None:
        """Until the process ends. Raises AwayError when it moves nothing, CorruptError when it writes too much."""
        loop = asyncio.get_running_loop()
        last, since = -1, loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await process.wait()
                    return
            there = await in_thread(size_of, place)
            if there > most_bytes:
                raise CorruptError("more bytes came than the image has")
            if there != last:
                last, since = there, loop.time()
                moved(there)
            elif loop.time() - since > self._config.stall_seconds:
                raise AwayError(f"no byte came for {self._config.stall_seconds:g} s")


def _quiet(_: int) -> None:
    pass


def _environment(place: Path) -> dict[str, str]:
    """Nothing of ours but the way out of the store's network; what goes to HOME and TMPDIR is counted and bounded."""
    passed = {name: value for name in _PASSED_ON if (value := os.environ.get(name))}
    return {**passed, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(place), "TMPDIR": str(place)}


def size_of(place: Path) -> int:
    """Bytes of all files below; very many files count as very many bytes."""
    total = files = 0
    for directory, _, names in os.walk(place):
        files += len(names)
        if files > _MOST_FILES:
            return 1 << 60
        for name in names:
            with contextlib.suppress(OSError):  # renamed in this moment
                total += (Path(directory) / name).lstat().st_size
    return total


def _read(path: Path, most_bytes: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise RefusedError("BAD_REQUEST", f"a document of more than {most_bytes} bytes")
    return data


_MESSAGE = re.compile(r'level=fatal msg="((?:[^"\\]|\\.)*)"')
_NOISE = re.compile(r'^(?:Error (?:parsing image name|initializing source) \S*"?:? ?|[Ee]rror (?:copying|writing) )')


def failure(stderr: str, code: int) -> EdgeError:
    """What skopeo's last words mean for the caller; the texts are those of 1.9.3 and of Go's net package."""
    found = _MESSAGE.findall(stderr)
    text = (found[-1] if found else stderr.strip() or f"skopeo ended with {code}").replace('\\"', '"')
    text = _NOISE.sub("", text.replace('"', "'"))[:400]
    if "no space left" in text or "disk quota" in text:
        return StorageError(f"no room for the image: {text}")
    if "file too large" in text or "igest did not match" in text or "ize mismatch" in text:
        return CorruptError(f"the registry sent something else than the image has: {text}")
    if "No such file or directory" in text and "skopeo" in text:
        return AwayError("skopeo is not installed (apt install skopeo)")
    return AwayError(f"the image can't be fetched: {text}")
