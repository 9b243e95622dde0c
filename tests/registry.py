"""Debian's docker-registry as a process of the test, and images made of bytes to put into it."""

import contextlib
import gzip
import hashlib
import http.client
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.broker_files import connects, free_port
from tests.stack import until

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Image:
    """Blobs by digest; `digest` names the manifest or the index, which is among them."""

    digest: str
    media_type: str
    blobs: dict[str, bytes] = field(default_factory=dict)

    @property
    def manifest(self) -> Any:
        return json.loads(self.blobs[self.digest])

    @property
    def layers(self) -> list[str]:
        return [layer["digest"] for layer in self.manifest["layers"]]


def layer(files: Mapping[str, bytes]) -> bytes:
    """The same files give the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), 1, mtime=0)


def image(
    *layers: bytes, architecture: str = "amd64", command: tuple[str, ...] = ("/bin/true",), docker: bool = False
) -> Image:
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": list(command)},
            "rootfs": {"type": "layers", "diff_ids": [sha256(gzip.decompress(each)) for each in layers]},
        }
    ).encode()
    kinds = (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER) if docker else (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": kinds[0],
            "config": {"mediaType": kinds[1], "digest": sha256(config), "size": len(config)},
            "layers": [{"mediaType": kinds[2], "digest": sha256(each), "size": len(each)} for each in layers],
        }
    ).encode()
    blobs = {sha256(data): data for data in (*layers, config, manifest)}
    return Image(sha256(manifest), kinds[0], blobs)


def index(**images: Image) -> Image:
    """One image for each architecture: index(amd64=..., arm64=...)."""
    lines = [
        {
            "mediaType": each.media_type,
            "digest": each.digest,
            "size": len(each.blobs[each.digest]),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for architecture, each in images.items()
    ]
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": lines}).encode()
    blobs = {digest: blob for each in images.values() for digest, blob in each.blobs.items()}
    return Image(sha256(data), OCI_INDEX, {**blobs, sha256(data): data})


def write_layout(what: Image, directory: Path) -> Path:
    """An OCI layout directory with this one image."""
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)
    for digest, data in what.blobs.items():
        (blobs / digest.removeprefix("sha256:")).write_bytes(data)
    line = {"mediaType": what.media_type, "digest": what.digest, "size": len(what.blobs[what.digest])}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [line]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return directory


def write_archive(what: Image, path: Path) -> Path:
    """An OCI archive, as `skopeo copy ... oci-archive:FILE` makes it."""
    layout = write_layout(what, path.with_suffix(".layout"))
    with tarfile.open(path, "w") as tar:
        for entry in sorted(layout.rglob("*")):
            if entry.is_file():
                tar.add(entry, str(entry.relative_to(layout)))
    return path


@dataclass
class Registry:
    """docker-registry on a loopback port, its storage below `directory`."""

    directory: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.directory.mkdir(exist_ok=True)
        config = self.directory / "config.yml"
        config.write_text(f"""
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {self.directory}/storage}}
http: {{addr: "{self.host}"}}
""")
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        until(lambda: connects(self.port), what="docker-registry to listen")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def push(self, what: Image, name: str = "shop/app") -> str:
        """The reference to write into a job."""
        manifests = {digest: data for digest, data in what.blobs.items() if b'"schemaVersion"' in data}
        for digest, data in what.blobs.items():
            if digest not in manifests:
                place = self._ask("POST", f"/v2/{name}/blobs/uploads/").getheader("Location") or ""
                url = urlsplit(place)
                self._ask("PUT", f"{url.path}?{url.query}&digest={digest}", data, "application/octet-stream")
        for digest in sorted(manifests, key=lambda digest: digest == what.digest):  # an index after what it names
            kind = json.loads(manifests[digest])["mediaType"]
            self._ask("PUT", f"/v2/{name}/manifests/{digest}", manifests[digest], kind)
        return f"{self.host}/{name}@{what.digest}"

    def blob(self, digest: str) -> Path:
        """Where the registry keeps a blob."""
        hexes = digest.removeprefix("sha256:")
        return self.directory / f"storage/docker/registry/v2/blobs/sha256/{hexes[:2]}/{hexes}/data"

    def _ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Content-Type": kind} if kind else {})
            answer = connection.getresponse()
            text = answer.read()
        assert answer.status < 300, (method, path, answer.status, text)
        return answer


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Registry]:
    registry = Registry(directory)
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()
