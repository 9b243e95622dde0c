"""A base for another processor: its programs run here under qemu-user, which the kernel has to be told of."""

import subprocess
from pathlib import Path

_BINFMT = Path("/proc/sys/fs/binfmt_misc")


def prepare(architecture: str) -> None:
    """Let this machine run programs of `architecture` (Debian's name). Raises CalledProcessError; needs root.

    A container has the handlers of Debian's packages, and often neither the mount nor a systemd that would register
    them.
    """
    if subprocess.run(["arch-test", architecture], capture_output=True, check=False).returncode == 0:
        return
    if not (_BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT)], check=True)
    subprocess.run(["update-binfmts", "--import"], check=True)
    subprocess.run(["update-binfmts", "--enable"], check=True)
    subprocess.run(["arch-test", architecture], capture_output=True, check=True)
