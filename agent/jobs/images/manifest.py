"""What an image is made of: its manifest, the index of several platforms, its configuration. Pure.

https://github.com/opencontainers/image-spec (manifest.md, image-index.md, config.md); Docker's schema 2 has the same
fields. Whatever is parsed here comes from somebody else: anything unexpected is a RefusedError.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from agent.errors import RefusedError
from agent.jobs.images.reference import parse

MAX_DOCUMENT_BYTES = 4 << 20  # what registries and skopeo allow for a manifest
_MOST_LAYERS = 256
_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_OCI = "application/vnd.oci.image.manifest.v1+json"
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
# What umoci 0.4 unpacks; zstd it doesn't.
_LAYERS = frozenset(
    {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    }
)
# uname's machine -> architecture and the variants that run on it, the best first (GOARCH's names).
_MACHINES = {
    "x86_64": ("amd64", ("", "v1")),
    "aarch64": ("arm64", ("v8", "")),
    "armv7l": ("arm", ("v7", "v6", "v5", "")),
    "armv6l": ("arm", ("v6", "v5", "")),
}


@dataclass(frozen=True, slots=True)
class Blob:
    hex: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`docker`: schema 2, which has to be converted."""

    config: Blob
    layers: tuple[Blob, ...]
    docker: bool

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Each once, the configuration last: small, and proof that the layers were complete before it."""
        return tuple(dict.fromkeys((*self.layers, self.config)))

    @property
    def total_bytes(self) -> int:
        return sum(blob.size_bytes for blob in self.blobs)


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of an index."""

    digest: str
    os: str
    architecture: str
    variant: str


@dataclass(frozen=True, slots=True)
class Index:
    choices: tuple[Choice, ...]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def architecture(machine: str) -> str:
    """GOARCH's name of uname's machine; an unknown one is its own name."""
    return _MACHINES.get(machine, (machine, ("",)))[0]


def read(data: bytes, digest: str) -> Manifest | Index:
    """The document that hashes to `digest`. Raises RefusedError: it doesn't, or isn't what this box can run."""
    if digest_of(data) != digest:
        raise RefusedError("BAD_REQUEST", f"what came for {digest} hashes to {digest_of(data)}")
    document = _object(data, "manifest")
    kind = _text(document, "mediaType") or (_OCI if "layers" in document else _INDEXES[0])
    # A document that is both would be read one way here and another way there (CVE-2021-41190).
    if document.get("schemaVersion") != 2 or ("layers" in document) == ("manifests" in document):
        raise RefusedError("BAD_REQUEST", f"{digest} is neither an OCI manifest nor an index")
    if kind in _INDEXES and "manifests" in document:
        return Index(tuple(_choice(line) for line in _list(document, "manifests", 1024)))
    if kind not in {_OCI, _DOCKER} or "layers" not in document:
        raise RefusedError("BAD_REQUEST", f"{digest} has the media type {kind!r}, which is no image")
    layers = tuple(_layer(line) for line in _list(document, "layers", _MOST_LAYERS))
    return Manifest(_blob(document.get("config")), layers, docker=kind == _DOCKER)


def read_index(data: bytes) -> tuple[Choice, ...]:
    """What an OCI layout's index.json names; nobody has its digest. Raises RefusedError."""
    document = _object(data, "index.json")
    if "manifests" not in document:
        raise RefusedError("BAD_REQUEST", "the image's index.json names no image")
    return tuple(_choice(line) for line in _list(document, "manifests", 1024))


def choose(index: Index, machine: str) -> str:
    """The digest of the manifest for `machine` (uname's word). Raises RefusedError when there is none."""
    name, variants = _MACHINES.get(machine, (machine, ("",)))
    for variant in variants:
        for choice in index.choices:
            if (choice.os, choice.architecture, choice.variant) == ("linux", name, variant):
                return choice.digest
    there = sorted({f"{c.os}/{c.architecture}{c.variant and '/' + c.variant}" for c in index.choices})
    raise RefusedError("BAD_REQUEST", f"the image is not made for linux/{name}; it is for {', '.join(there)[:200]}")


def check_platform(config: bytes, machine: str) -> None:
    """Raises RefusedError when the image's configuration names another platform than this one."""
    document = _object(config, "configuration")
    name, variants = _MACHINES.get(machine, (machine, ("",)))
    own = (document.get("os"), document.get("architecture"))
    variant = document.get("variant", "")
    if own != ("linux", name) or variant not in variants:
        made = f"{own[0]}/{own[1]}{variant and '/' + str(variant)}"[:100]
        raise RefusedError("BAD_REQUEST", f"the image is made for {made}, this box is linux/{name}")


def check_size(manifest: Manifest, most_bytes: int) -> None:
    """Raises RefusedError(NO_ROOM)."""
    if manifest.total_bytes > most_bytes:
        over = manifest.total_bytes - most_bytes
        raise RefusedError(
            "NO_ROOM",
            f"the image has {manifest.total_bytes} bytes to fetch, {over} more than [images] max_image_bytes"
            f" ({most_bytes})",
        )


def same_layers(one: Manifest, other: Manifest) -> bool:
    """Whether a conversion of `one` kept what is unpacked; the configuration's JSON is written anew."""
    return one.layers == other.layers


def _object(data: bytes, what: str) -> Mapping[str, Any]:
    try:
        document = _mapping(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise RefusedError("BAD_REQUEST", f"the image's {what} is not JSON") from error
    if document is None:
        raise RefusedError("BAD_REQUEST", f"the image's {what} is no JSON object")
    return document


def _mapping(value: Any) -> Mapping[str, Any] | None:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else None


def _text(document: Mapping[str, Any], key: str) -> str:
    return str(document.get(key) or "")[:100]


def _list(document: Mapping[str, Any], key: str, most: int) -> list[Any]:
    lines: Any = document[key]
    if not isinstance(lines, list) or not 1 <= len(lines) <= most:  # pyright: ignore[reportUnknownArgumentType] # JSON
        raise RefusedError("BAD_REQUEST", f"{key}: a list of 1..{most}")
    return lines  # pyright: ignore[reportUnknownVariableType] # JSON


def _blob(value: Any) -> Blob:
    line = _mapping(value) or {}
    size, digest = line.get("size"), line.get("digest")
    if type(size) is not int or not 0 <= size < 1 << 50 or not isinstance(digest, str):
        raise RefusedError("BAD_REQUEST", "a part of the image has no size or no digest")
    return Blob(_hex(digest), size)


def _layer(value: Any) -> Blob:
    blob, line = _blob(value), _mapping(value) or {}
    kind = _text(line, "mediaType")
    if kind not in _LAYERS or line.get("urls"):
        raise RefusedError("BAD_REQUEST", f"a layer has the media type {kind!r}; tar and tar+gzip can be unpacked here")
    return blob


def _choice(value: Any) -> Choice:
    platform = _mapping((_mapping(value) or {}).get("platform")) or {}
    words = [_text(platform, key) for key in ("os", "architecture", "variant")]
    return Choice(f"sha256:{_blob(value).hex}", *words)


def _hex(digest: str) -> str:
    """Raises RefusedError unless it is "sha256:HEX" and nothing else: it becomes a file's name."""
    if "@" in digest:
        raise RefusedError("BAD_REQUEST", "a digest is sha256: and 64 hex digits")
    return parse(digest).hex
