"""The quick part: overlay, users, units and kernel modules on the base, then a disk, a kernel and an initrd."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hil.image import initrd, recipe

OVERLAY = Path(__file__).parent / "overlay"


def key(base_key: str, board: recipe.Board) -> str:
    return recipe.digest(base_key, repr(board), Path(__file__).parent)


def build(board: recipe.Board, base: Path, folder: Path) -> None:
    """Write disk.qcow2, vmlinuz, initrd.gz, a key pair `ssh` and, if the board has one, board.dtb into `folder`.

    `base` holds base.tar and kernel.deb. Raises CalledProcessError; needs root, for the owners of files.
    """
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "hil", "-f", str(folder / "ssh"))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root, kernel = Path(scratch, "root"), Path(scratch, "kernel")
        for made in (root, kernel):
            made.mkdir(mode=0o755)
        _run("tar", "-xf", str(base / "base.tar"), "-C", str(root))
        modules = _kernel(base / "kernel.deb", kernel)
        (root / "lib/modules").mkdir(exist_ok=True)
        shutil.copytree(modules, root / "lib/modules" / modules.name, symlinks=True)
        _set_up(root, (folder / "ssh.pub").read_text())
        initial = initrd.build(root / "bin/busybox", modules, board.initrd_modules)
        (folder / "initrd.gz").write_bytes(initial)
        shutil.copy(next((kernel / "boot").glob("vmlinuz-*")), folder / "vmlinuz")
        if board.device_tree:
            _device_tree(board, kernel, folder / "board.dtb")
        _disk(root, Path(scratch, "disk.ext4"), folder / "disk.qcow2", board.disk_bytes)


def _kernel(package: Path, folder: Path) -> Path:
    """Unpack the kernel's package; return its /lib/modules/VERSION, indexed."""
    archive = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
    left_out = [f"--exclude={pattern}" for pattern in recipe.KERNEL_LEFT_OUT]
    subprocess.run(["tar", "-x", "-C", str(folder), *left_out], stdin=archive.stdout, check=True)
    archive.communicate()
    modules = next((folder / "lib/modules").iterdir())
    _run("depmod", "-b", str(folder), modules.name)
    return modules


def _set_up(root: Path, public_key: str) -> None:
    shutil.copytree(OVERLAY, root, dirs_exist_ok=True)
    (root / "etc/hostname").write_text(f"{recipe.HOSTNAME}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {recipe.HOSTNAME}\n")
    (root / "etc/fstab").write_text("")
    (root / "etc/motd").unlink(missing_ok=True)
    (root / "etc/machine-id").write_text("uninitialized\n")
    keys = root / "root/.ssh"
    keys.mkdir(mode=0o700, exist_ok=True)
    (keys / "authorized_keys").write_text(public_key)
    # chroot, not --root: that would load the other root's PAM into a program of this processor
    _run("chroot", str(root), "chpasswd", stdin=f"root:{recipe.PASSWORD}\n")
    _systemctl(root, "enable", recipe.SERVICES_ON)
    _systemctl(root, "mask", recipe.SERVICES_OFF)


def _device_tree(board: recipe.Board, kernel: Path, tree: Path) -> None:
    shutil.copy(next((kernel / "usr/lib").glob(f"linux-image-*/{board.device_tree}")), tree)
    for edit in board.device_tree_edits:
        *options, node, name, value = edit
        _run("fdtput", *options, str(tree), node, name, value)


def _disk(root: Path, raw: Path, disk: Path, size: int) -> None:
    with raw.open("wb") as file:
        file.truncate(size)
    # no lazy initialisation: a kernel thread that writes for minutes after the first boot disturbs every measurement
    _run("mkfs.ext4", "-q", "-F", "-L", "rootfs", "-d", str(root), str(raw))
    _run("qemu-img", "convert", "-q", "-O", "qcow2", str(raw), str(disk))


def _systemctl(root: Path, verb: str, units: Sequence[str]) -> None:
    _run("systemctl", "--quiet", f"--root={root}", verb, *units)


def _run(*command: str, stdin: str | None = None) -> None:
    subprocess.run(command, input=stdin, text=True, check=True)
