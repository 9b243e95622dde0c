"""Builds OCI layouts as an agent would leave them: good ones, and such as only an enemy makes."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_OCI = "application/vnd.oci.image."
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    """A tar header with whatever name, link, owner and mode you like."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info


Member = tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]


def tar(members: Iterable[Member]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            info, data = member if isinstance(member, tuple) else (member, b"")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def files(contents: Mapping[str, bytes]) -> bytes:
    """A layer of plain files; a name that ends with "/" is a directory."""
    return tar(
        entry(name, tarfile.DIRTYPE) if name.endswith("/") else (entry(name, mode=0o755), data)
        for name, data in contents.items()
    )


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Layout:
    """The agent's image directory."""

    directory: Path
    blobs: Path = field(init=False)

    def __post_init__(self) -> None:
        self.blobs = self.directory / "blobs/sha256"
        self.blobs.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes, name: str = "") -> str:
        """A blob, by default under its own digest."""
        name = name or digest(data)
        (self.blobs / name.removeprefix("sha256:")).write_bytes(data)
        return name

    def path(self, name: str) -> Path:
        return self.blobs / name.removeprefix("sha256:")

    def image(
        self,
        *layers: bytes,
        config: Mapping[str, Any] | None = None,
        top: Mapping[str, Any] | None = None,
        manifest: Callable[[dict[str, Any]], object] | None = None,
        compressed: bool = True,
        media: str = "",
    ) -> str:
        """The digest of an image of plain tars.

        `config` is what its author wants run; `top` replaces fields of the config blob; `manifest` may change or
        replace the manifest before it is written.
        """
        rows: list[dict[str, Any]] = []
        for plain in layers:
            data = gzip.compress(plain, 1, mtime=0) if compressed else plain
            kind = media or f"{_OCI}layer.v1.tar{'+gzip' if compressed else ''}"
            rows.append({"mediaType": kind, "digest": self.put(data), "size": len(data)})
        about = {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": dict(config or {}),
            "rootfs": {"type": "layers", "diff_ids": [digest(plain) for plain in layers]},
        }
        raw = json.dumps(about | dict(top or {})).encode()
        named = {"mediaType": f"{_OCI}config.v1+json", "digest": self.put(raw), "size": len(raw)}
        said: dict[str, Any] = {
            "schemaVersion": 2, "mediaType": f"{_OCI}manifest.v1+json", "config": named, "layers": rows
        }  # fmt: skip
        changed = manifest(said) if manifest else None
        return self.put(json.dumps(said if changed is None else changed).encode())
