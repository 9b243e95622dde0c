"""The board's initrd: modules in an order that loads, an archive that cpio reads."""

import gzip
import subprocess
from pathlib import Path

import pytest

from hil.image import initrd

DEPENDENCIES = """kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko
kernel/fs/jbd2/jbd2.ko:
kernel/lib/crc16.ko:
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio.ko:
"""


def test_each_module_comes_once_and_after_what_it_needs() -> None:
    names = [Path(file).stem for file in initrd.load_order(DEPENDENCIES, ["virtio_blk", "virtio_ring", "ext4"])]
    assert names == ["virtio", "virtio_ring", "virtio_blk", "crc16", "jbd2", "ext4"]


def test_a_module_that_is_built_in_is_left_out() -> None:
    assert initrd.load_order(DEPENDENCIES, ["nvme"]) == []


def test_cpio_finds_all_files_with_their_contents(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    (modules / "kernel").mkdir(parents=True)
    (modules / "modules.dep").write_text("kernel/one.ko:\n")
    (modules / "kernel/one.ko").write_bytes(b"odd")
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"program")
    archive = gzip.decompress(initrd.build(busybox, modules, ["one"]))
    if subprocess.run(["sh", "-c", "command -v cpio"], capture_output=True, check=False).returncode != 0:
        pytest.skip("cpio is not installed")
    listed = subprocess.run(["cpio", "-t"], input=archive, capture_output=True, check=True).stdout.decode().split()
    assert {"init", "bin/busybox", "bin/sh", "dev/console", "modules/one.ko"} <= set(listed)
    out = tmp_path / "out"
    out.mkdir()
    for name, data in (("modules/one.ko", b"odd"), ("bin/busybox", b"program")):
        subprocess.run(["cpio", "-id", "--quiet", name], input=archive, cwd=out, check=True)
        assert (out / name).read_bytes() == data
    assert b"insmod /modules/one.ko" in archive
