"""What goes on a board: this checkout's package for its processor, and later ones, to be upgraded to."""

from pathlib import Path
from typing import Any

from deb import build, wheels
from hil.board import PATIENCE

INSTALL_SECONDS = 900.0 * PATIENCE
_ARCHITECTURES = {machine: name for name, (machine, _) in wheels.MACHINES.items()}


def put(ssh: Any, folder: Path, version: str | None = None) -> str:
    """Build the package in `folder`, of `version` instead of the checkout's; where it is on the board.

    Raises CalledProcessError; needs a Python package index the first time.
    """
    architecture = _ARCHITECTURES[ssh.run_check("uname -m")[0]]
    # Compressed in a hurry; what is in it is what ./dev package makes.
    package = build.build(architecture, folder, kept=wheels.cache(), version=version, level=0)
    ssh.put(str(package), f"/root/{package.name}")
    return f"/root/{package.name}"


def install(ssh: Any, package: str, *options: str) -> None:
    """As an operator does, without a mirror: what the package needs is on the board."""
    command = f"DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {' '.join(options)} {package}"
    ssh.run_check(f"{command} </dev/null", timeout=INSTALL_SECONDS)
