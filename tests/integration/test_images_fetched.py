"""Images from a real registry or a layout directory, into the directory that the launcher unpacks from."""

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AwayError, RefusedError, StorageError
from agent.sandbox import ImageState
from tests import registry as reg
from tests.integration.image_parts import MIB, SMALL, Store, assert_whole, noise
from tests.registry import Registry, image, index, layer

pytestmark = [pytest.mark.integration]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with reg.running(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path, registry: Registry) -> Store:
    return Store(tmp_path, registry.host)


async def test_an_image_by_its_digest_arrives_whole_and_says_how_far_it_is(store: Store, registry: Registry) -> None:
    reference = registry.push(SMALL)
    assert await store.fetch(reference) == SMALL.digest
    assert_whole(store, SMALL, SMALL.digest)
    assert store.here() == set(SMALL.blobs)
    assert store.said[0] == "fetching, 0.0 of 0.1 MiB"
    (view,) = await store.artifacts.views()
    assert (view.digest, view.state, view.total_bytes) == (
        SMALL.digest,
        "fetched",
        100_000 + view.total_bytes - 100_000,
    )


async def test_what_is_here_is_not_fetched_again(store: Store, tmp_path: Path) -> None:
    with reg.running(tmp_path / "own") as own:
        store.config = replace(store.config, insecure_registries=(own.host,))
        store.restart()
        reference = own.push(SMALL)
        await store.fetch(reference)
    store.restart()
    assert await store.fetch(reference) == SMALL.digest  # the registry is down


@pytest.mark.parametrize("state", ["ready", "unpacking"])
async def test_what_the_launcher_has_is_not_fetched_at_all(store: Store, state: Any) -> None:
    store.states = {SMALL.digest: ImageState(SMALL.digest, state)}
    assert await store.fetch(f"nowhere.invalid/a@{SMALL.digest}") == SMALL.digest
    assert store.here() == set()


async def test_a_tag_is_refused_and_the_remedy_said(store: Store, registry: Registry) -> None:
    with pytest.raises(RefusedError, match=r"has no digest: a tag may be moved.*@sha256:HEX"):
        await store.fetch(f"{registry.host}/shop/app:latest")


async def test_a_digest_that_the_registry_does_not_have_is_tried_again(store: Store, registry: Registry) -> None:
    with pytest.raises(AwayError, match="manifest unknown"):
        await store.fetch(f"{registry.host}/shop/app@sha256:{'0' * 64}")


async def test_plain_http_is_refused_unless_the_registry_is_listed(tmp_path: Path, registry: Registry) -> None:
    store = Store(tmp_path)
    with pytest.raises(AwayError, match="HTTP response to HTTPS client"):
        await store.fetch(registry.push(SMALL))


async def test_a_registry_that_is_away_and_comes_back(tmp_path: Path) -> None:
    with reg.running(tmp_path / "own") as own:
        reference = own.push(SMALL)
    store = Store(tmp_path, own.host)
    with pytest.raises(AwayError, match="connection refused"):
        await store.fetch(reference)
    own.start()
    try:
        assert await store.fetch(reference) == SMALL.digest
    finally:
        own.stop()


async def test_a_blob_cut_short_is_tried_again_and_the_others_are_kept(store: Store, registry: Registry) -> None:
    what = image(layer({"a": noise(300_000, 2)}), layer({"b": noise(300_000, 3)}))
    reference = registry.push(what, "shop/cut")
    whole, cut = (registry.blob(digest) for digest in what.layers)
    good = cut.read_bytes()
    cut.write_bytes(good[:1000])
    with pytest.raises(AwayError):
        await store.fetch(reference)
    assert store.here() == set()
    assert (await store.artifacts.views()) == ()
    cut.write_bytes(good)
    whole.unlink()  # it has to be here already
    assert await store.fetch(reference) == what.digest
    assert_whole(store, what, what.digest)


async def test_what_a_power_cut_leaves_is_no_hindrance(store: Store, registry: Registry) -> None:
    what = image(layer({"p": noise(50_000, 12)}), layer({"q": noise(50_000, 13)}))
    place = store.state_dir / "images/fetching" / what.digest[7:] / "layout"
    (place / "blobs/sha256").mkdir(parents=True)
    for name in ("index.json", "oci-layout", "oci-put-blob123", f"blobs/sha256/{what.layers[0][7:]}"):
        (place / name).touch()  # named, but its bytes never reached the disk
    (place / f"blobs/sha256/{what.layers[1][7:]}").write_bytes(bytes(len(what.blobs[what.layers[1]])))
    reference = registry.push(what, "shop/power")
    with pytest.raises(AwayError, match="not what its name says"):  # as long as it should be: only its hash tells
        await store.fetch(reference)
    assert await store.fetch(reference) == what.digest
    assert_whole(store, what, what.digest)


async def test_a_layer_of_another_image_is_not_fetched_again(store: Store, registry: Registry) -> None:
    shared = layer({"shared": noise(200_000, 4)})
    await store.fetch(registry.push(image(shared), "shop/one"))
    other = image(shared, layer({"more": b"1"}))
    reference = registry.push(other, "shop/two")
    registry.blob(other.layers[0]).write_bytes(b"gone")
    assert await store.fetch(reference) == other.digest
    assert_whole(store, other, other.digest)


async def test_an_image_over_the_limit_is_refused_before_a_layer_is_fetched(tmp_path: Path, registry: Registry) -> None:
    store = Store(tmp_path, registry.host, max_image_bytes=50_000)
    with pytest.raises(RefusedError, match=r"has 100\d+ bytes to fetch, 50\d+ more than .*max_image_bytes \(50000\)"):
        await store.fetch(registry.push(SMALL))
    assert store.disk_bytes() < 10_000


async def test_an_index_gives_this_machines_image(store: Store, registry: Registry) -> None:
    arm = image(layer({"arm": b"1"}), architecture="arm64")
    both = index(amd64=SMALL, arm64=arm)
    reference = registry.push(both, "shop/both")
    assert await store.fetch(reference) == SMALL.digest
    assert store.here() == set(SMALL.blobs)
    with pytest.raises(RefusedError, match="made for linux/arm64, this box is linux/amd64"):
        await store.fetch(registry.push(arm, "shop/arm"))
    with pytest.raises(RefusedError, match="not made for linux/amd64; it is for linux/arm64"):
        await store.fetch(registry.push(index(arm64=arm), "shop/only-arm"))


async def test_dockers_own_format_is_converted_to_the_same_layers(store: Store, registry: Registry) -> None:
    what = image(layer({"d": noise(1000, 5)}), docker=True)
    reference = registry.push(what, "shop/docker")
    digest = await store.fetch(reference)
    assert digest != what.digest
    manifest = json.loads(store.blob(digest).read_bytes())
    assert manifest["mediaType"] == reg.OCI_MANIFEST
    assert [each["digest"] for each in manifest["layers"]] == what.layers
    assert store.blob(manifest["config"]["digest"]).exists()
    store.restart()
    assert await store.fetch(reference) == digest


async def test_two_jobs_that_name_one_image_fetch_it_once(store: Store, registry: Registry) -> None:
    what = image(layer({"two": noise(500_000, 6)}))
    reference = registry.push(what, "shop/twice")
    first: list[str] = []
    async with asyncio.TaskGroup() as group:
        one = group.create_task(store.artifacts.fetch(reference, first.append))
        two = group.create_task(store.fetch(reference))
    assert one.result() == two.result() == what.digest
    assert first == store.said != []
    assert sum("of 0.5 MiB" in line for line in first) == len(first)


async def test_a_full_disk_is_said_before_anything_is_fetched(
    store: Store, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(store.state_dir)
    full = os.statvfs_result((*real[:4], 1, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(StorageError, match="bytes are needed, 0 are free"):
        await store.fetch(registry.push(SMALL))


async def test_a_layout_directory_is_enough(tmp_path: Path) -> None:
    stick = reg.write_layout(
        index(amd64=SMALL, arm64=image(layer({"arm": b"2"}), architecture="arm64")), tmp_path / "stick"
    )
    digest = json.loads((stick / "index.json").read_text())["manifests"][0]["digest"]
    store = Store(tmp_path, layouts=(tmp_path / "absent", stick))
    assert await store.fetch(f"nowhere.invalid/shop/app@{digest}") == SMALL.digest
    assert_whole(store, SMALL, SMALL.digest)


async def test_a_damaged_layout_directory_is_passed_over_for_the_registry(tmp_path: Path, registry: Registry) -> None:
    stick = reg.write_layout(SMALL, tmp_path / "stick")
    blob = stick / "blobs/sha256" / SMALL.layers[1][7:]
    blob.write_bytes(b"x" * blob.stat().st_size)
    secret = tmp_path / "secret"
    secret.write_bytes(SMALL.blobs[SMALL.layers[0]])
    store = Store(tmp_path, registry.host, layouts=(stick,))
    with pytest.raises(AwayError, match="not on this box: push it"):
        await store.fetch(SMALL.digest)
    assert await store.fetch(registry.push(SMALL)) == SMALL.digest
    assert_whole(store, SMALL, SMALL.digest)


async def test_blobs_go_once_they_are_unpacked_and_old_images_when_room_is_short(
    store: Store, registry: Registry
) -> None:
    reference = registry.push(SMALL)
    await store.fetch(reference)
    old, used = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
    store.states = {
        SMALL.digest: ImageState(SMALL.digest, "ready", disk_bytes=10 << 30, last_used_unix_nano=1),
        old: ImageState(old, "ready", disk_bytes=MIB, last_used_unix_nano=2),
        used: ImageState(used, "ready", disk_bytes=MIB, last_used_unix_nano=3),
    }
    store.wanted = frozenset({reference, "host"})
    await store.artifacts.sweep()
    assert store.here() == set()
    assert store.removed == [old, used]  # more than the limit is wanted: everything else goes
    store.restart()
    assert await store.fetch(reference) == SMALL.digest  # the launcher has it


async def test_nothing_is_forgotten_while_the_launcher_is_away(store: Store, registry: Registry) -> None:
    await store.fetch(registry.push(SMALL))

    async def away() -> tuple[ImageState, ...]:
        raise AwayError("away")

    store.installed = away  # type: ignore[method-assign]  # the launcher went
    store.restart()
    with pytest.raises(AwayError):
        await store.artifacts.sweep()
    assert store.here() == set(SMALL.blobs)
    assert [view.state for view in await store.artifacts.views()] == ["fetched"]
