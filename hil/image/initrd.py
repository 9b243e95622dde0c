"""A 2 MB initrd in place of Debian's 30 MB one: busybox, the few modules up to the root disk, ten lines of init."""

import gzip
from collections.abc import Sequence
from pathlib import Path

_INIT = """#!/bin/sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
{modules}
root=
for word in $($b cat /proc/cmdline); do case $word in root=*) root=${{word#root=}} ;; esac; done
tries=0
while [ ! -b "$root" ] && [ $tries -lt 400 ]; do $b usleep 50000; tries=$((tries + 1)); done
$b mount -t ext4 -o rw,noatime "$root" /root || exec $b sh
for folder in dev proc sys; do $b mount --move /$folder /root/$folder; done
exec $b switch_root /root /sbin/init
"""
_DIRECTORY, _FILE, _PROGRAM, _LINK, _CHARACTER_DEVICE = 0o40755, 0o100644, 0o100755, 0o120777, 0o20600


def load_order(dependencies: str, wanted: Sequence[str]) -> list[str]:
    """Module files in the order to load them, from the text of modules.dep. What isn't listed is built in."""
    files: dict[str, str] = {}
    needs: dict[str, list[str]] = {}
    for line in dependencies.splitlines():
        file, _, rest = line.partition(":")
        name = Path(file).name.split(".")[0].replace("-", "_")
        files[name], needs[name] = file, rest.split()
    order: dict[str, None] = {}
    for name in wanted:
        if name in files:
            # modules.dep names the nearest need first, so the deepest is loaded by going backwards
            order |= dict.fromkeys([*reversed(needs[name]), files[name]])
    return list(order)


class _Archive:
    """cpio in the kernel's "newc" form (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._entries = 0

    def add(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._entries += 1
        path = name.encode() + b"\0"
        fields = (self._entries, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
        self._padded(b"070701" + b"".join(b"%08x" % value for value in fields) + path)
        self._padded(content)

    def _padded(self, data: bytes) -> None:
        self.data += data + bytes(-(len(self.data) + len(data)) % 4)


def build(busybox: Path, modules: Path, wanted: Sequence[str]) -> bytes:
    """A gzipped initrd; `modules` is a /lib/modules/VERSION with uncompressed files and depmod run."""
    archive = _Archive()
    for folder in ("bin", "dev", "proc", "sys", "root", "modules"):
        archive.add(folder, _DIRECTORY)
    archive.add("dev/console", _CHARACTER_DEVICE, device=(5, 1))
    archive.add("bin/busybox", _PROGRAM, busybox.read_bytes())
    archive.add("bin/sh", _LINK, b"busybox")
    loads: list[str] = []
    for file in load_order((modules / "modules.dep").read_text(), wanted):
        name = f"modules/{Path(file).name}"
        archive.add(name, _FILE, (modules / file).read_bytes())
        loads.append(f"$b insmod /{name}")
    archive.add("init", _PROGRAM, _INIT.format(modules="\n".join(loads)).encode())
    archive.add("TRAILER!!!", 0)
    return gzip.compress(bytes(archive.data), 6)
