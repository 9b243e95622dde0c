"""agent/jobs/images/manifest.py."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import RefusedError
from agent.jobs.images import manifest as m
from tests.registry import OCI_INDEX, OCI_LAYER, OCI_MANIFEST, image, index, layer

SMALL = image(layer({"a": b"1"}), layer({"b": b"2"}))
ARM = image(layer({"a": b"1"}), architecture="arm64")


def read(document: Any) -> m.Manifest | m.Index:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return m.read(data, m.digest_of(data))


def changed(**changes: Any) -> Any:
    return {key: value for key, value in {**SMALL.manifest, **changes}.items() if value is not None}


def test_a_manifest_names_its_blobs_with_the_configuration_last() -> None:
    found = read(SMALL.blobs[SMALL.digest])
    assert isinstance(found, m.Manifest)
    assert [f"sha256:{blob.hex}" for blob in found.blobs] == [*SMALL.layers, SMALL.manifest["config"]["digest"]]
    assert found.total_bytes == sum(len(data) for digest, data in SMALL.blobs.items() if digest != SMALL.digest)
    assert not found.docker
    assert isinstance(docker := read(image(layer({"a": b"1"}), docker=True).manifest), m.Manifest) and docker.docker


def test_a_layer_that_appears_twice_is_fetched_and_counted_once() -> None:
    twice = read(image(layer({"a": b"1"}), layer({"a": b"1"})).manifest)
    assert isinstance(twice, m.Manifest)
    assert (len(twice.layers), len(twice.blobs)) == (2, 2)


def test_what_does_not_hash_to_its_digest_is_refused() -> None:
    with pytest.raises(RefusedError, match="hashes to"):
        m.read(SMALL.blobs[SMALL.digest] + b" ", SMALL.digest)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"no json", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "no JSON object"),
        (changed(schemaVersion=1), "neither"),
        (changed(layers=None), "neither"),
        (changed(manifests=[]), "neither"),  # CVE-2021-41190: both at once
        (changed(mediaType="text/html"), "no image"),
        (changed(mediaType=OCI_INDEX), "no image"),
        (changed(mediaType=["x"]), "no image"),
        (changed(layers={}), "a list of"),
        (changed(layers=[]), "a list of"),
        (changed(layers=[{}] * 300), "a list of"),
        (changed(layers=["x"]), "no size or no digest"),
        (changed(config=None), "no size or no digest"),
        (changed(config={"digest": "sha256:../../x", "size": 1}), "has no digest"),
        (changed(config={"digest": f"a.b/c@sha256:{'0' * 64}", "size": 1}), "64 hex digits"),
        (changed(config={"digest": f"sha256:{'0' * 64}", "size": -1}), "no size"),
        (changed(config={"digest": f"sha256:{'0' * 64}", "size": True}), "no size"),
        (changed(layers=[{**SMALL.manifest["layers"][0], "mediaType": OCI_LAYER.replace("gzip", "zstd")}]), "zstd"),
        (changed(layers=[{**SMALL.manifest["layers"][0], "mediaType": {}}]), "media type"),
        (changed(layers=[{**SMALL.manifest["layers"][0], "urls": ["https://x"]}]), "media type"),
    ],
)
def test_what_is_no_image_is_refused_in_words(document: Any, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        read(document)


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(f"sha256:{'0' * 64}")
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))


@given(st.dictionaries(st.sampled_from(["mediaType", "layers", "config", "manifests", "platform"]), TREES))
def test_no_document_whatever_does_more_than_be_refused(document: dict[str, Any]) -> None:
    for whole in (document, {**SMALL.manifest, **document}, {**index(amd64=SMALL).manifest, **document}):
        try:
            found = read({**whole, "schemaVersion": 2})
            if isinstance(found, m.Index):
                m.choose(found, "x86_64")
        except RefusedError:
            continue
    with contextlib.suppress(RefusedError):
        m.check_platform(json.dumps(document).encode(), "x86_64")


def choices(*platforms: tuple[str, str]) -> m.Index:
    return m.Index(tuple(m.Choice(f"{arch}/{variant}", "linux", arch, variant) for arch, variant in platforms))


@pytest.mark.parametrize(
    ("machine", "platforms", "chosen"),
    [
        ("x86_64", [("arm64", "v8"), ("amd64", "")], "amd64/"),
        ("x86_64", [("amd64", "v3"), ("amd64", "v1")], "amd64/v1"),
        ("aarch64", [("amd64", ""), ("arm64", "")], "arm64/"),
        ("aarch64", [("arm64", ""), ("arm64", "v8")], "arm64/v8"),
        ("armv7l", [("arm", "v6"), ("arm", "v7"), ("arm", "v5")], "arm/v7"),
        ("armv7l", [("arm", "v5"), ("arm", "v6")], "arm/v6"),
        ("armv6l", [("arm", "v7"), ("arm", "v6")], "arm/v6"),
        ("riscv64", [("riscv64", "")], "riscv64/"),
    ],
)
def test_of_several_platforms_this_machines_best_is_chosen(machine: str, platforms: Any, chosen: str) -> None:
    assert m.choose(choices(*platforms), machine) == chosen


def test_no_platform_that_fits_is_said_with_those_that_are_there() -> None:
    with pytest.raises(RefusedError, match="not made for linux/amd64; it is for linux/amd64/v3, linux/arm64"):
        m.choose(choices(("arm64", ""), ("amd64", "v3")), "x86_64")
    found = read(index(amd64=SMALL, arm64=ARM).manifest)
    assert isinstance(found, m.Index)
    assert m.choose(found, "aarch64") == ARM.digest


def test_an_images_own_platform_must_be_this_one() -> None:
    config = ARM.blobs[ARM.manifest["config"]["digest"]]
    m.check_platform(config, "aarch64")
    with pytest.raises(RefusedError, match="made for linux/arm64, this box is linux/amd64"):
        m.check_platform(config, "x86_64")
    with pytest.raises(RefusedError, match="made for windows/amd64"):
        m.check_platform(b'{"os": "windows", "architecture": "amd64"}', "x86_64")


def test_a_size_over_the_limit_says_by_how_much() -> None:
    found = m.Manifest(m.Blob("c", 10), (m.Blob("l", 90),), docker=False)
    m.check_size(found, 100)
    with pytest.raises(RefusedError, match=r"has 100 bytes to fetch, 1 more than .* \(99\)") as refusal:
        m.check_size(found, 99)
    assert refusal.value.reason == "NO_ROOM"


def test_a_missing_media_type_is_told_by_the_content() -> None:
    assert isinstance(read(changed(mediaType=None)), m.Manifest)
    assert SMALL.manifest["mediaType"] == OCI_MANIFEST
