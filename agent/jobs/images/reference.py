"""How a job names its image: by what it is (a digest), and where it may be fetched. Pure."""

import re
from dataclasses import dataclass

from agent.errors import RefusedError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# The grammar of github.com/distribution/reference, with a registry that must be named.
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:]{2,45}\])(?::[0-9]{1,5})?")
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MOST_CHARACTERS = 512

_WANTED = "REGISTRY/NAME@sha256:HEX, or sha256:HEX for one that was pushed or lies in a layout directory"


@dataclass(frozen=True, slots=True)
class Reference:
    """`digest` is "sha256:HEX" of a manifest or an index; `name` is REGISTRY/PATH, or empty for no registry."""

    digest: str
    name: str = ""

    @property
    def hex(self) -> str:
        return self.digest.removeprefix("sha256:")

    @property
    def registry(self) -> str:
        return self.name.partition("/")[0]


def parse(text: str) -> Reference:
    """Raises RefusedError(BAD_REQUEST). A tag beside the digest is dropped: the digest says all."""
    shown = text[:100]
    if len(text) > _MOST_CHARACTERS:
        raise RefusedError("BAD_REQUEST", f"image {shown!r}...: at most {_MOST_CHARACTERS} characters")
    if _DIGEST.fullmatch(text):
        return Reference(text)
    name, at, digest = text.partition("@")
    if not at:
        raise RefusedError(
            "BAD_REQUEST", f"image {shown!r} has no digest: a tag may be moved under a running store; write {_WANTED}"
        )
    if not _DIGEST.fullmatch(digest):
        raise RefusedError("BAD_REQUEST", f"image {shown!r}: its digest is not sha256: and 64 hex digits")
    registry, slash, path = name.partition("/")
    last = path.rpartition("/")[2]
    if ":" in last:
        tag = last.partition(":")[2]
        if not _TAG.fullmatch(tag):
            raise RefusedError("BAD_REQUEST", f"image {shown!r}: {tag!r} is no tag")
        path = path[: -len(tag) - 1]
    if not slash or not _is_registry(registry):
        raise RefusedError("BAD_REQUEST", f"image {shown!r} names no registry (docker.io/library/...); write {_WANTED}")
    if not all(_PART.fullmatch(part) for part in path.split("/")):
        raise RefusedError("BAD_REQUEST", f"image {shown!r}: {path!r} is no repository; write {_WANTED}")
    return Reference(digest, f"{registry}/{path}")


def _is_registry(host: str) -> bool:
    return bool(_HOST.fullmatch(host)) and ("." in host or ":" in host or host == "localhost")
