"""What an OCI image's manifest and config say, read as a stranger's words: bounded, typed, nothing guessed. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

MANIFEST_BYTES = 1 << 20  # the most, as of a config; 128 layers take 30 kB
CONFIG_BYTES = 1 << 20
LAYERS = 128  # as container engines that stack them (moby: max depth 125); more serves nobody
_WORDS, _WORDS_BYTES = 64, 16 * 1024  # as of a request's command
_ENV, _ENV_BYTES = 256, 64 * 1024
_NAME_BYTES = 255  # of a file, in ext4
_KERNELS = ("dev", "proc", "sys")

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "riscv64": "riscv64"}
_OCI, _DOCKER = "application/vnd.oci.image.", "application/vnd.docker."
_MANIFESTS = (f"{_OCI}manifest.v1+json", f"{_DOCKER}distribution.manifest.v2+json")
_LISTS = (f"{_OCI}index.v1+json", f"{_DOCKER}distribution.manifest.list.v2+json")
_CONFIGS = (f"{_OCI}config.v1+json", f"{_DOCKER}container.image.v1+json")
# media type -> compressed with gzip
_LAYERS = {
    f"{_OCI}layer.v1.tar": False,
    f"{_OCI}layer.v1.tar+gzip": True,
    f"{_DOCKER}image.rootfs.diff.tar": False,
    f"{_DOCKER}image.rootfs.diff.tar.gzip": True,
}


class ImageError(Exception):
    """The image can't be used here, now or ever: why, for people."""


@dataclass(frozen=True, slots=True)
class Blob:
    digest: str  # "sha256:" and 64 hex digits
    size: int  # bytes, as the manifest says

    @property
    def digits(self) -> str:
        return self.digest.removeprefix("sha256:")


@dataclass(frozen=True, slots=True)
class Layer(Blob):
    gzip: bool


@dataclass(frozen=True, slots=True)
class Manifest:
    config: Blob
    layers: tuple[Layer, ...]  # the lowest first


@dataclass(frozen=True, slots=True)
class Author:
    """What the image's author wants; `user` is yet to be looked up in the image."""

    diff_ids: tuple[str, ...]  # digests of the layers' plain tars
    command: tuple[str, ...]  # Entrypoint, then Cmd
    env: Mapping[str, str]
    cwd: str
    user: str  # "", "USER" or "USER:GROUP", names or numbers


def parse(data: bytes, what: str) -> dict[str, Any]:
    """One JSON object, no key twice. Raises ImageError."""
    try:
        raw: object = json.loads(data, object_pairs_hook=_object)
    except ImageError as error:
        raise ImageError(f"{what} {error}") from None
    except (ValueError, RecursionError):
        raise ImageError(f"{what} is not JSON") from None
    if not isinstance(raw, dict):
        raise ImageError(f"{what} is not a JSON object")
    return cast("dict[str, Any]", raw)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ImageError("has a key twice: two readers might see two images")
    return found


def read_manifest(data: bytes, max_bytes: int) -> Manifest:
    """`max_bytes` is the most that its layers may have together. Raises ImageError."""
    raw = parse(data, "its manifest")
    kind = raw.get("mediaType")
    if kind in _LISTS or "manifests" in raw:
        raise ImageError("is a list of images for several machines; give the digest of the one for this machine")
    if kind is not None and kind not in _MANIFESTS:
        raise ImageError(f"its media type is {shown(kind)}; known: {' '.join(_MANIFESTS)}")
    if raw.get("schemaVersion") != 2:
        raise ImageError("its schemaVersion is not 2")
    layers = raw.get("layers")
    if not isinstance(layers, list) or not 1 <= len(cast("list[object]", layers)) <= LAYERS:
        raise ImageError(f"its manifest must have 1..{LAYERS} layers")
    config = _blob(raw.get("config"), "config", CONFIG_BYTES)
    if cast("dict[str, Any]", raw["config"]).get("mediaType") not in _CONFIGS:
        raise ImageError(f"what its config is, is not known; known: {' '.join(_CONFIGS)}")
    found = tuple(_layer(one, number, max_bytes) for number, one in enumerate(cast("list[object]", layers), 1))
    total = sum(layer.size for layer in found)
    if total > max_bytes:
        raise ImageError(f"its layers have {total} bytes; at most {max_bytes} on this machine")
    return Manifest(config, found)


def _blob(raw: object, what: str, most: int) -> Blob:
    if not isinstance(raw, dict):
        raise ImageError(f"{what}: not an object")
    fields = cast("dict[str, Any]", raw)
    digest, size = fields.get("digest"), fields.get("size")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ImageError(f"{what}: its digest is not sha256: and 64 hex digits")
    if type(size) is not int or not 0 < size <= most:
        raise ImageError(f"{what}: its size must be 1..{most} bytes")
    return Blob(digest, size)


def _layer(raw: object, number: int, most: int) -> Layer:
    blob = _blob(raw, f"layer {number}", most)
    kind = cast("dict[str, Any]", raw).get("mediaType")
    if not isinstance(kind, str) or kind not in _LAYERS:
        raise ImageError(f"layer {number} is {shown(kind)}; layers must be tar, plain or gzip")
    return Layer(blob.digest, blob.size, gzip=_LAYERS[kind])


def read_config(data: bytes, machine: str, layers: int) -> Author:
    """`machine` is uname -m, `layers` how many the manifest names. Raises ImageError."""
    raw = parse(data, "its config")
    wanted = _ARCHITECTURES.get(machine, machine)
    if (raw.get("os"), raw.get("architecture")) != ("linux", wanted):
        made = f"{shown(raw.get('os'))}/{shown(raw.get('architecture'))}"
        raise ImageError(f"is for {made}, this machine is linux/{wanted}")
    rootfs = raw.get("rootfs")
    fields: Mapping[str, Any] = cast("dict[str, Any]", rootfs) if isinstance(rootfs, dict) else {}
    ids = _words(fields, "diff_ids")
    if not ids or not all(map(_DIGEST.fullmatch, ids)):
        raise ImageError("its config names no layers by sha256")
    if len(ids) != layers:
        raise ImageError(f"its config names {len(ids)} layers, its manifest {layers}")
    inner = raw.get("config")
    fields = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    command = (*_words(fields, "Entrypoint"), *_words(fields, "Cmd"))
    if len(command) > _WORDS or sum(len(word.encode()) for word in command) > _WORDS_BYTES:
        raise ImageError(f"its command has more than {_WORDS} words or {_WORDS_BYTES} bytes")
    cwd = _text(fields, "WorkingDir") or "/"
    if not cwd.startswith("/") or len(cwd) > 1024 or not cwd.isprintable() or ".." in cwd.split("/"):
        raise ImageError(f"its WorkingDir is {shown(cwd)}; it must be an absolute path without ..")
    parts = [part for part in cwd.split("/") if part not in ("", ".")]
    if any(len(part.encode()) > _NAME_BYTES for part in parts):
        raise ImageError(f"its WorkingDir has a name of more than {_NAME_BYTES} bytes")
    if parts and parts[0] in _KERNELS:  # /proc/self/fd/N: what a runtime forgot to close (CVE-2024-21626)
        raise ImageError(f"its WorkingDir is {shown(cwd)}, which is the kernel's")
    return Author(ids, command, _env(fields), cwd, _text(fields, "User"))


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name) or ""
    if not isinstance(value, str) or not _plain(value):
        raise ImageError(f"its {name} is not text")
    return value


def _words(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value: object = fields.get(name) or ()
    if value == ():
        return ()
    if not isinstance(value, list):
        raise ImageError(f"its {name} is not a list of words")
    words: list[str] = []
    for one in cast("list[object]", value):
        if not isinstance(one, str) or not _plain(one):
            raise ImageError(f"its {name} is not a list of words")
        words.append(one)
    return tuple(words)


def _env(fields: Mapping[str, Any]) -> dict[str, str]:
    pairs = [word.partition("=") for word in _words(fields, "Env")]
    if len(pairs) > _ENV or sum(len(name) + len(value) for name, _, value in pairs) > _ENV_BYTES:
        raise ImageError(f"its Env has more than {_ENV} variables or {_ENV_BYTES} letters")
    for name, equals, _ in pairs:
        if not name or not equals or not name.isprintable():
            raise ImageError(f"its Env has {shown(name)}, which is no NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _plain(word: str) -> bool:
    """Can be an argument or a variable: no NUL, no lone surrogate (JSON can say both)."""
    return "\0" not in word and not any("\ud800" <= letter <= "\udfff" for letter in word)


def shown(value: object) -> str:
    """A stranger's word, fit for a terminal and a log: short, and without control characters."""
    text = value if isinstance(value, str) else repr(value)
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])
