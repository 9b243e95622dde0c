import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.launcher.manifest import ImageError, Layer, parse, read_config, read_manifest, shown

HEX = "a" * 64
OCI = "application/vnd.oci.image."


def manifest(**changes: Any) -> dict[str, Any]:
    config = {"mediaType": f"{OCI}config.v1+json", "digest": f"sha256:{HEX}", "size": 5}
    layer = {"mediaType": f"{OCI}layer.v1.tar+gzip", "digest": f"sha256:{HEX}", "size": 9}
    return {"schemaVersion": 2, "mediaType": f"{OCI}manifest.v1+json", "config": config, "layers": [layer]} | changes


def config(**changes: Any) -> dict[str, Any]:
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{HEX}"]}
    return {"os": "linux", "architecture": "amd64", "rootfs": rootfs, "config": {}} | changes


def say(value: object) -> bytes:
    return json.dumps(value).encode()


def test_a_manifest_names_its_config_and_layers() -> None:
    found = read_manifest(say(manifest()), 100)
    assert found.config.size == 5
    assert found.layers == (Layer(f"sha256:{HEX}", 9, gzip=True),)
    assert found.layers[0].digits == HEX


def test_dockers_names_are_understood_and_none_is_needed() -> None:
    docker = manifest(mediaType="application/vnd.docker.distribution.manifest.v2+json")
    docker["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    docker["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    assert read_manifest(say(docker), 100).layers[0].gzip
    bare = manifest()
    del bare["mediaType"]
    assert read_manifest(say(bare), 100)


def layer(**changes: Any) -> dict[str, Any]:
    return manifest()["layers"][0] | changes


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"mediaType": f"{OCI}index.v1+json"}, "a list of images"),
        ({"manifests": []}, "a list of images"),
        ({"mediaType": "text/html"}, "its media type is text/html"),
        ({"schemaVersion": 1}, "schemaVersion"),
        ({"layers": []}, "1..128 layers"),
        ({"layers": "x"}, "1..128 layers"),
        ({"layers": [layer()] * 129}, "1..128 layers"),
        ({"layers": [5]}, "layer 1: not an object"),
        ({"layers": [layer(digest="sha256:" + "A" * 64)]}, "layer 1: its digest"),
        ({"layers": [layer(digest="sha512:" + HEX)]}, "layer 1: its digest"),
        ({"layers": [layer(digest=HEX + "/../..")]}, "layer 1: its digest"),
        ({"layers": [layer(size=-1)]}, "layer 1: its size"),
        ({"layers": [layer(size=True)]}, "layer 1: its size"),
        ({"layers": [layer(size=101)]}, "layer 1: its size"),
        ({"layers": [layer(size=60), layer(size=60)]}, "120 bytes; at most 100"),
        ({"layers": [layer(mediaType=f"{OCI}layer.v1.tar+zstd")]}, "zstd; layers must be tar"),
        ({"layers": [layer(mediaType=f"{OCI}layer.nondistributable.v1.tar")]}, "nondistributable"),
        ({"layers": [layer(mediaType=["x"])]}, "layers must be tar"),
        ({"config": None}, "config: not an object"),
        ({"config": {"digest": f"sha256:{HEX}", "size": 1 << 21}}, "config: its size"),
        ({"config": {"digest": f"sha256:{HEX}", "size": 1, "mediaType": f"{OCI}empty"}}, "its config is"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_with_a_reason(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ImageError) as caught:
        read_manifest(say(manifest(**changes)), 100)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"[" * 100_000, "it is not JSON"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "it is not JSON"),
        (b"\xff\xfe\xfa", "it is not JSON"),
        (b"1" * 10_000, "it is not JSON"),
        (b"[]", "it is not a JSON object"),
        (b'{"a": {"b": 1, "b": 2}}', "it has a key twice"),
    ],
)
def test_json_that_two_readers_might_take_for_two_things_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        parse(data, "it")


def test_a_config_says_what_its_author_wants() -> None:
    inner = {"Entrypoint": ["/a"], "Cmd": ["b"], "Env": ["A=b=c", "E="], "WorkingDir": "/w", "User": "u:g"}
    found = read_config(say(config(config=inner)), "x86_64", 1)
    assert (found.command, found.cwd, found.user) == (("/a", "b"), "/w", "u:g")
    assert found.env == {"A": "b=c", "E": ""}
    assert found.diff_ids == (f"sha256:{HEX}",)


def test_a_config_may_want_nothing() -> None:
    for inner in ({}, None, {"Cmd": None, "Env": None, "WorkingDir": "", "User": None}):
        found = read_config(say(config(config=inner)), "x86_64", 1)
        assert (found.command, found.cwd, found.user, dict(found.env)) == ((), "/", "", {})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"architecture": "arm64"}, "is for linux/arm64, this machine is linux/amd64"),
        ({"os": "windows"}, "is for windows/amd64"),
        ({"os": None}, "is for None/amd64"),
        ({"rootfs": {}}, "names no layers"),
        ({"rootfs": {"diff_ids": ["x"]}}, "names no layers"),
        ({"rootfs": {"diff_ids": [f"sha256:{HEX}"] * 2}}, "names 2 layers, its manifest 1"),
        ({"config": {"Cmd": "sh"}}, "its Cmd is not a list of words"),
        ({"config": {"Cmd": ["a\0b"]}}, "its Cmd is not a list of words"),
        ({"config": {"Entrypoint": ["\ud800"]}}, "its Entrypoint is not a list of words"),
        ({"config": {"Cmd": ["x"] * 65}}, "more than 64 words"),
        ({"config": {"Cmd": ["x" * 20000]}}, "more than 64 words or 16384 bytes"),
        ({"config": {"WorkingDir": "rel"}}, "WorkingDir"),
        ({"config": {"WorkingDir": "/a/../b"}}, "WorkingDir"),
        ({"config": {"WorkingDir": "/a\n"}}, "WorkingDir"),
        ({"config": {"WorkingDir": "/a/" + "\u00e4" * 128}}, "a name of more than 255 bytes"),
        ({"config": {"WorkingDir": "/./proc/self/fd/8"}}, "which is the kernel's"),
        ({"config": {"WorkingDir": "//sys"}}, "which is the kernel's"),
        ({"config": {"Env": ["novalue"]}}, "no NAME=VALUE"),
        ({"config": {"Env": ["=x"]}}, "no NAME=VALUE"),
        ({"config": {"Env": ["A=b"] * 257}}, "more than 256 variables"),
        ({"config": {"User": 5}}, "its User is not text"),
    ],
)
def test_a_config_that_is_wrong_is_refused_with_a_reason(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ImageError) as caught:
        read_config(json.dumps(config(**changes)).encode("utf-8", "surrogatepass"), "x86_64", 1)
    assert why in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
KEYS = st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "rootfs", "os", "architecture", "manifests"])


@given(st.dictionaries(KEYS, JSON) | st.binary())
def test_whatever_a_stranger_says_is_read_or_refused(raw: object) -> None:
    data = raw if isinstance(raw, bytes) else say(manifest(**raw) if isinstance(raw, dict) else raw)
    for read in (lambda: read_manifest(data, 100), lambda: read_config(data, "x86_64", 1)):
        with contextlib.suppress(ImageError):
            read()


@given(JSON)
def test_what_is_shown_fits_a_terminal(value: object) -> None:
    assert shown(value).isprintable() and len(shown(value)) <= 200
