"""Runs skopeo as a child with bounds of ours: on what it writes, on how long it may move nothing, on whom it trusts.

docs/decisions/0070-skopeo.md says why skopeo, and which bounds it lacks.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.config.schema import ImagesConfig
from agent.errors import AwayError, CorruptError, EdgeError, RefusedError, StorageError
from agent.fsio import write_atomic
from agent.jobs.images import child
from agent.jobs.images.blobs import in_thread
from agent.jobs.images.manifest import MAX_DOCUMENT_BYTES, architecture
from agent.jobs.images.reference import Reference

_SLACK_BYTES = 1 << 20  # documents, skopeo's own cache of blob locations (64 KiB)
# The digest is what is trusted, and is checked here; where the bytes come from doesn't matter.
_ACCEPT = {"": [{"type": "insecureAcceptAnything"}]}
_POLICY = {"default": [{"type": "reject"}], "transports": {"docker": _ACCEPT}}


class Skopeo:
    """Works in a directory of its own; one call at a time in each `place` within it."""

    def __init__(self, config: ImagesConfig, directory: Path, machine: str) -> None:
        self._config, self._directory, self._machine = config, directory, machine

    def prepare(self) -> None:
        """The files that skopeo is pointed at. Raises OSError.

        What is there already isn't written: on a full disk that would keep the agent from starting.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in (("policy.json", json.dumps(_POLICY).encode()), ("auth.json", b'{"auths":{}}')):
            path = self._directory / name
            if not path.exists() or path.read_bytes() != data:
                write_atomic(path, data)

    async def document(self, reference: Reference, digest: str, place: Path, *, config: bool = False) -> bytes:
        """The manifest or index with this digest as the registry sends it, or the image's configuration; unchecked.

        Raises AwayError, StorageError.
        """
        words = ["inspect", "--raw", *(["--config"] if config else []), *self._access("", reference)]
        await self._run([*words, f"docker://{reference.name}@{digest}"], place, MAX_DOCUMENT_BYTES, 0)
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

    def _access(self, side: str, reference: Reference) -> list[str]:
        secure = reference.registry not in self._config.insecure_registries
        auth = self._config.auth_file or self._directory / "auth.json"
        return [f"--{side}authfile" if side else "--authfile", str(auth), f"--{side}tls-verify={str(secure).lower()}"]

    async def _run(
        self,
        words: Sequence[str],
        place: Path,
        file_bytes: int,
        total_bytes: int,
        moved: Callable[[int], None] = lambda _: None,
    ) -> None:
        code = await child.run(
            [
                *("skopeo", "--policy", str(self._directory / "policy.json"), "--tmpdir", str(place)),
                *("--override-os", "linux", "--override-arch", architecture(self._machine)),
                *words,
            ],
            place,
            file_bytes=file_bytes + _SLACK_BYTES,
            more_bytes=total_bytes + _SLACK_BYTES + MAX_DOCUMENT_BYTES,
            stall_seconds=self._config.stall_seconds,
            moved=moved,
        )
        if code:
            raise failure(await in_thread(_last_words, place), code)


def _last_words(place: Path) -> str:
    return (place / "err").read_bytes()[-4096:].decode(errors="replace")


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
