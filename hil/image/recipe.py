"""What the virtual mini-PC is made of. Data only; `digest` says when it has to be made again."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

SUITE = "bookworm"
ARCHITECTURE = "amd64"
KERNEL = "linux-image-amd64"  # the full one: the cloud kernel has no hwmon, no i2c, no watchdog

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

# Loaded by the initrd, in this order, each after what it depends on. crc32c_generic is ext4's and named nowhere.
INITRD_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")

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
    "systemd-networkd-wait-online.service",
    "systemd-binfmt.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
)

HOSTNAME = "store-pc"
PASSWORD = "hil"  # of root on the serial console of a board that only loopback reaches
DISK_BYTES = 8 << 30


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
