"""Images that only an enemy makes, unpacked for real: each is refused with a reason, or made harmless."""

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.launcher.protocol import ImageState
from tests.images import FIRST, MIB, Store, store
from tests.layouts import digest, entry, files, tar

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
CANARIES = (Path("/var/tmp/unpacked-canary"), Path("/etc/unpacked-canary"), Path("/unpacked-canary"))


@pytest.fixture(scope="module")
def _one() -> Iterator[Store]:
    with store() as one:
        yield one


@pytest.fixture
def shop(_one: Store) -> Iterator[Store]:
    yield _one
    assert _one.traces() == []
    assert [path for path in CANARIES if os.path.lexists(path)] == []


def refused(one: Store, name: str) -> str:
    state = one.unpack(name)
    assert state.state == "failed", state
    assert state.message.isprintable() and len(state.message) < 500
    assert one.images.ask(name) == state  # it is not tried again
    one.images.remove(name)
    return state.message


def ready(one: Store, name: str) -> ImageState:
    state = one.unpack(name)
    assert state.state == "ready", state
    return state


def owners(tree: Path) -> set[int]:
    return {path.lstat().st_uid for path in tree.rglob("*")} | {path.lstat().st_gid for path in tree.rglob("*")}


# --- names that lead out ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../../../var/tmp/unpacked-canary", "/var/tmp/unpacked-canary"])
def test_a_path_that_climbs_out_stays_inside(shop: Store, name: str) -> None:
    image = shop.layout.image(tar([(entry(name), b"out")]))
    ready(shop, image)
    with shop.tree(image) as tree:
        assert (tree / "var/tmp/unpacked-canary").read_bytes() == b"out"


def test_a_symlink_of_an_earlier_layer_leads_nowhere_but_inside(shop: Store) -> None:
    link = tar([entry("a", tarfile.SYMTYPE, linkname="/var/tmp"), entry("b", tarfile.SYMTYPE, linkname="../../../etc")])
    through = tar([(entry("a/unpacked-canary"), b"x"), (entry("b/unpacked-canary"), b"x")])
    image = shop.layout.image(link, through)
    ready(shop, image)
    with shop.tree(image) as tree:
        assert (tree / "var/tmp/unpacked-canary").exists() and (tree / "etc/unpacked-canary").exists()


def test_a_hard_link_to_a_file_of_the_host_is_refused(shop: Store) -> None:
    image = shop.layout.image(tar([entry("shadow", tarfile.LNKTYPE, linkname="../../../../etc/shadow")]))
    assert "no such file" in refused(shop, image)


def test_a_whiteout_of_an_outside_path_is_refused(shop: Store) -> None:
    """umoci 0.4.7 follows ".wh..." out of its root: what it meets there is the read-only sandbox, not the host."""
    before = sorted(path.name for path in Path("/etc").iterdir())
    image = shop.layout.image(files({"a": b"x"}), tar([entry(".wh...")]))
    assert "can't be unpacked" in refused(shop, image)
    assert sorted(path.name for path in Path("/etc").iterdir()) == before
    assert shop.host.places.rootfs.joinpath("etc/passwd").exists()


def test_whiteouts_of_everything_leave_an_empty_image(shop: Store) -> None:
    image = shop.layout.image(files({"a": b"x", "d/e": b"y"}), tar([entry(".wh..wh..opq"), entry("../../.wh.etc")]))
    ready(shop, image)
    with shop.tree(image) as tree:
        assert not (tree / "a").exists() and not (tree / "d").exists()


@pytest.mark.parametrize("name", ["dev", "proc", "sys", "etc", "run", "tmp", "work"])
def test_a_mount_point_that_is_a_link_is_refused(shop: Store, name: str) -> None:
    image = shop.layout.image(tar([entry(name, tarfile.SYMTYPE, linkname="/var/tmp")]))
    assert refused(shop, image) == f"its /{name} is not a directory"


def test_a_root_that_is_a_link_is_refused(shop: Store) -> None:
    image = shop.layout.image(tar([entry(".", tarfile.SYMTYPE, linkname="/var")]))
    assert "root directory" in refused(shop, image)


def test_hosts_files_that_are_links_become_plain_files(shop: Store) -> None:
    links = [entry(f"etc/{name}", tarfile.SYMTYPE, linkname="/etc/shadow") for name in ("hosts", "resolv.conf")]
    image = shop.layout.image(tar([entry("etc", tarfile.DIRTYPE), *links]))
    ready(shop, image)
    with shop.tree(image) as tree:
        assert not (tree / "etc/hosts").is_symlink() and (tree / "etc/resolv.conf").read_bytes() == b""


def test_a_passwd_that_is_a_link_is_not_read(shop: Store) -> None:
    link = entry("etc/passwd", tarfile.SYMTYPE, linkname="/etc/passwd")
    image = shop.layout.image(tar([entry("etc", tarfile.DIRTYPE), link]), config={"User": "daemon"})
    assert refused(shop, image) == "its User daemon is not in its /etc/passwd"


def test_names_with_control_characters_are_kept_inside_and_out_of_messages(shop: Store) -> None:
    image = shop.layout.image(tar([(entry("a\x1b[31m\nb"), b"x")]))
    ready(shop, image)
    image = shop.layout.image(tar([(entry("a\x1b[31m\nb", uid=70000), b"x")]))
    refused(shop, image)


# --- powers -------------------------------------------------------------------------------------


def test_device_nodes_become_empty_files(shop: Store) -> None:
    disk = entry("sda", tarfile.BLKTYPE, devmajor=254, devminor=0, mode=0o666)
    null = entry("memory", tarfile.CHRTYPE, devmajor=1, devminor=1, mode=0o666)
    image = shop.layout.image(tar([disk, null]))
    ready(shop, image)
    with shop.tree(image) as tree:
        assert (tree / "sda").is_file() and (tree / "memory").is_file()


def test_setuid_and_capabilities_give_nothing_and_nobody_of_the_host_owns_a_file(shop: Store) -> None:
    """On the host the image is mounted nosuid, and every file is in the run's own range."""
    root = {"SCHILY.xattr.security.capability": b"\1\0\0\2\x7f\x7f\0\0\0\0\0\0\0\0\0\0\0\0\0\0".decode("latin1")}
    su, cap = (Path(path).read_bytes() for path in ("/usr/bin/id", "/usr/bin/cat"))
    image = shop.layout.image(tar([(entry("su", mode=0o6755), su), (entry("cap", mode=0o755, pax_headers=root), cap)]))
    ready(shop, image)
    with shop.tree(image) as tree:
        assert owners(tree) == {FIRST}
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        assert subprocess.check_output([*nobody, tree / "su", "-u"]) == b"65534\n"
        assert b"CapEff:\t0000000000000000" in subprocess.check_output([*nobody, tree / "cap", "/proc/self/status"])
        with pytest.raises(OSError, match="Read-only"):
            (tree / "new").touch()


@pytest.mark.parametrize("uid", [65536, 70000, (1 << 31) + 5])
def test_an_owner_out_of_range_is_refused(shop: Store, uid: int) -> None:
    image = shop.layout.image(tar([(entry("file", uid=uid), b"x")]))
    assert "owner is not in 0..65535" in refused(shop, image)


def test_a_name_cannot_say_that_the_hosts_disk_is_full_or_failing(shop: Store) -> None:
    name = "no space left on device: input/output error"
    assert "owner is not in" in refused(shop, shop.layout.image(tar([entry(name, uid=70000)])))


def test_the_highest_owner_in_range_is_kept(shop: Store) -> None:
    image = shop.layout.image(tar([(entry("file", uid=65535, gid=1), b"x")]))
    ready(shop, image)
    with shop.tree(image) as tree:
        assert ((tree / "file").stat().st_uid, (tree / "file").stat().st_gid) == (FIRST + 65535, FIRST + 1)


# --- too much -----------------------------------------------------------------------------------


def zeros(size: int) -> tuple[bytes, str]:
    """A layer with one file of zeros: compressed, and the digest of the plain tar."""
    import hashlib

    info = entry("bomb")
    info.size = size
    out, plain = io.BytesIO(), hashlib.sha256()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0) as packed:
        for part in (info.tobuf(tarfile.PAX_FORMAT), *(bytes(MIB) for _ in range(size // MIB)), bytes(10240)):
            packed.write(part)
            plain.update(part)
    return out.getvalue(), f"sha256:{plain.hexdigest()}"


def packed_image(one: Store, packed: bytes, diff_id: str) -> str:
    row = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": one.layout.put(packed)}

    def manifest(said: dict[str, Any]) -> None:
        said["layers"] = [row | {"size": len(packed)}]

    return one.layout.image(manifest=manifest, top={"rootfs": {"type": "layers", "diff_ids": [diff_id]}})


def test_a_gigabyte_bomb_ends_at_the_cap_and_its_space_comes_back(shop: Store) -> None:
    packed, diff_id = zeros(1024 * MIB)
    assert len(packed) < 8 * MIB
    free = shutil.disk_usage(shop.directory).free
    assert "unpacks to more than 67108864 bytes" in refused(shop, packed_image(shop, packed, diff_id))
    assert shutil.disk_usage(shop.directory).free > free - 32 * MIB  # others use this disk too


def test_an_inode_bomb_ends_at_the_cap(shop: Store) -> None:
    image = shop.layout.image(tar(entry(f"f{number}") for number in range(6000)))
    assert "or 4096 files" in refused(shop, image)


def test_an_unpacking_that_takes_too_long_is_ended(shop: Store) -> None:
    packed, diff_id = zeros(1024 * MIB)
    shop.fresh(4096 * MIB, seconds=0.3)
    try:
        assert "takes longer than 0.3 s" in refused(shop, packed_image(shop, packed, diff_id))
    finally:
        shop.fresh()


def test_more_layers_than_anybody_needs_are_refused(shop: Store) -> None:
    layer = files({"a": b"x"})
    assert refused(shop, shop.layout.image(*[layer] * 129)) == "its manifest must have 1..128 layers"
    ready(shop, shop.layout.image(*[layer] * 128))


def test_layers_larger_than_allowed_are_refused_before_they_are_read(shop: Store) -> None:
    def manifest(said: dict[str, Any]) -> None:
        said["layers"][0]["size"] = 65 * MIB

    assert "its size must be 1.." in refused(shop, shop.layout.image(files({"a": b"x"}), manifest=manifest))


# --- blobs that lie -----------------------------------------------------------------------------


def test_a_layer_that_is_not_what_its_digest_says_is_refused(shop: Store) -> None:
    plain = files({"a": b"a layer of its own"})
    image = shop.layout.image(plain)
    saved = gzip.compress(plain, 1, mtime=0)
    path = shop.layout.path(digest(saved))
    path.write_bytes(saved[:-1] + b"!")
    assert refused(shop, image) == "layer 1 is not what its digest says"
    path.write_bytes(saved[:-1])
    assert "layer 1 is cut short" in refused(shop, image)
    path.write_bytes(saved + b"!")
    assert "layer 1 has more than the" in refused(shop, image)
    path.unlink()
    os.mkfifo(path)
    assert refused(shop, image) == "layer 1 is not a file"
    path.unlink()
    path.symlink_to("/etc/shadow")
    assert "layer 1 can't be read" in refused(shop, image)
    path.unlink()
    assert shop.unpack(image).state == "absent"
    path.write_bytes(saved)
    ready(shop, image)


def test_a_layer_that_is_no_tar_or_ends_early_is_refused(shop: Store) -> None:
    assert "can't be unpacked" in refused(shop, shop.layout.image(os.urandom(5000)))
    assert "can't be unpacked" in refused(shop, shop.layout.image(files({"a": b"x" * 9000})[:5000]))


def test_a_config_that_is_a_link_or_a_directory_of_blobs_that_is_one_is_refused(shop: Store) -> None:
    image = shop.layout.image(files({"c": b"x"}), config={"Cmd": ["c"]})
    config = next(path for path in shop.layout.blobs.iterdir() if b'"Cmd": ["c"]' in path.read_bytes())
    moved = shop.directory / "moved"
    config.rename(moved)
    config.symlink_to(moved)
    assert "its config can't be read" in refused(shop, image)
    moved.replace(config)
    shop.layout.blobs.rename(moved)
    shop.layout.blobs.symlink_to(moved)
    assert "not a layout's directory" in refused(shop, image)
    shop.layout.blobs.unlink()
    moved.rename(shop.layout.blobs)
    ready(shop, image)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"schemaVersion": 2, "manifests": []}', "is a list of images"),
        (b'{"schemaVersion": 2, "schemaVersion": 2}', "its manifest has a key twice: two readers might see two images"),
        (b"[" * 500_000 + b"]" * 500_000, "its manifest is not JSON"),
        (b'{"a": "' + b"x" * (2 * MIB) + b'"}', "its manifest has more than 1048576 bytes"),
        (b"\x1b[31m", "its manifest is not JSON"),
    ],
)
def test_a_manifest_of_nonsense_is_refused(shop: Store, raw: bytes, why: str) -> None:
    assert why in refused(shop, shop.layout.put(raw))


def test_a_manifest_under_another_name_is_refused(shop: Store) -> None:
    name = shop.layout.put(b'{"schemaVersion": 2}', digest(b"another"))
    assert refused(shop, name) == "its manifest is not what its digest says"


def test_zstd_and_other_machines_are_refused_by_name(shop: Store) -> None:
    zstd = shop.layout.image(files({"a": b""}), media="application/vnd.oci.image.layer.v1.tar+zstd")
    assert "+zstd; layers must be tar, plain or gzip" in refused(shop, zstd)
    other = shop.layout.image(files({"a": b""}), top={"architecture": "s390x"})
    assert "is for linux/s390x, this machine is linux/" in refused(shop, other)
