"""What the virtual boards are made of. Data only; `digest` says when one has to be made again."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"

# What a store's server has before the agent comes: systemd/install needs python3-venv, the launcher the sandbox's
# parts, the bridge a broker. The rest lets the suite in and tells it of crashes.
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "systemd-coredump",
    "udev",
    "dbus",
    "kmod",
    "iproute2",
    "procps",
    "util-linux",
    "python3",
    "python3-venv",
    "mosquitto",
    "mosquitto-clients",
    "crun",
    "conmon",
    "catatonit",
    "nftables",
    "e2fsprogs",
    "skopeo",
    "umoci",
    "apparmor",
    "openssh-server",
    "busybox-static",
)

# Parts of the kernel package no store server of ours has; leaving them out halves the time of every image.
KERNEL_LEFT_OUT = (
    "*/drivers/gpu/*",
    "*/drivers/media/*",
    "*/drivers/infiniband/*",
    "*/drivers/isdn/*",
    "*/drivers/iio/*",
    "*/drivers/net/ethernet/*",
    "*/drivers/net/wireless/*",
    "*/drivers/staging/*",
    "*/drivers/target/*",
    "*/drivers/video/*",
    "*/sound/*",
    "*/fs/btrfs/*",
    "*/fs/ocfs2/*",
    "*/fs/xfs/*",
    "./usr/share/*",
    "./boot/System.map*",
)

SERVICES_ON = ("systemd-networkd", "ssh")
# Slow under emulation and of no use to a board without a screen or a package mirror: 3 s of a boot together.
SERVICES_OFF = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-firstboot.service",
    "systemd-networkd-wait-online.service",
    "systemd-binfmt.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
)

HOSTNAME = "store-pc"
PASSWORD = "hil"  # of root on the serial console of a board that only loopback reaches


@dataclass(frozen=True)
class Base:
    """What boards of one architecture share; minutes to build, so nothing of a single board is in it."""

    architecture: str  # Debian's name
    kernel: str  # the full one: the cloud kernel has no hwmon, no i2c, no watchdog
    packages: tuple[str, ...] = PACKAGES


@dataclass(frozen=True)
class Board:
    """A disk, a kernel and an initrd on a base, and for some a device tree from the kernel's package.

    `initrd_modules` are loaded in this order, each after what it depends on; they are what the root disk takes.
    `device_tree_edits` are options, node, property and value for fdtput(1).
    """

    base: Base
    initrd_modules: tuple[str, ...]
    disk_bytes: int = 8 << 30
    device_tree: str = ""
    device_tree_edits: tuple[tuple[str, ...], ...] = ()


# What systemd-creds needs to speak to a TPM, which PCs have and a Raspberry Pi has not.
_TPM = ("libtss2-esys-3.0.2-0", "libtss2-mu0", "libtss2-rc0", "libtss2-tcti-device0")
_AMD64 = Base("amd64", "linux-image-amd64", (*PACKAGES, *_TPM))
_ARM64 = Base("arm64", "linux-image-arm64")
_ROOT = ("crc32c_generic", "ext4")  # crc32c_generic is ext4's, and named nowhere

# By the names of hil/env.
BOARDS = {
    "qemu-x86": Board(_AMD64, ("virtio_pci", "virtio_blk", *_ROOT)),
    "qemu-arm64": Board(_ARM64, ("virtio_pci", "virtio_blk", *_ROOT)),
    # QEMU takes SD cards of a power of two only. Its serial port is the one that a Pi gives to Bluetooth.
    "qemu-rpi3b": Board(
        _ARM64,
        ("bcm2835", "sdhci_iproc", "mmc_block", *_ROOT),
        device_tree="broadcom/bcm2837-rpi-3-b.dtb",
        device_tree_edits=(("-t", "s", "/soc/serial@7e201000/bluetooth", "status", "disabled"),),
    ),
}


def digest(*parts: str | Path) -> str:
    """16 hexadecimal digits over strings, files, and all files of directories."""
    total = hashlib.sha256()
    for part in parts:
        for name, data in _contents(part):
            total.update(f"{name}\0{len(data)}\0".encode() + data)
    return total.hexdigest()[:16]


def _contents(part: str | Path) -> Iterable[tuple[str, bytes]]:
    if isinstance(part, str):
        return [("", part.encode())]
    files = sorted(path for path in part.rglob("*") if path.is_file()) if part.is_dir() else [part]
    return [
        (str(path.relative_to(part.parent)), path.read_bytes()) for path in files if "__pycache__" not in path.parts
    ]
