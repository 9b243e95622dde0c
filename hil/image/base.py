"""The slow part, made once per list of packages: a root file system as a tar, and the kernel's package."""

import subprocess
from pathlib import Path

from hil.image import recipe


def key(base: recipe.Base) -> str:
    return recipe.digest(recipe.SUITE, repr(base), Path(__file__))


def build(base: recipe.Base, folder: Path) -> None:
    """Write base.tar and kernel.deb into `folder`. Raises CalledProcessError; needs root, and a Debian mirror."""
    hooks = (
        _fetch(base.kernel),
        f'cp "$1"/var/tmp/kernel.deb "{folder}"/kernel.deb && rm "$1"/var/tmp/kernel.deb',
    )
    subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            f"--architectures={base.architecture}",
            "--variant=minbase",
            "--mode=root",
            f"--include={','.join(base.packages)}",
            '--aptopt=Apt::Install-Recommends "false"',
            "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale")),
            *(f"--customize-hook={hook}" for hook in hooks),
            recipe.SUITE,
            str(folder / "base.tar"),
        ],
        check=True,
    )


def _fetch(kernel: str) -> str:
    """Run by mmdebstrap with the new root as $1; its apt is set to the new root's suite whatever the host runs.

    One line: mmdebstrap asks first whether the text is a file, and perl warns of names with line ends.
    """
    return "; ".join(
        (
            "set -e",
            'export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"',
            f"name=$(apt-cache depends {kernel} | grep -o 'linux-image-[0-9].*' | head -n 1)",
            'cd "$1"/var/tmp',
            'apt-get -qq -o APT::Sandbox::User=root download "$name"',
            "mv linux-image-*.deb kernel.deb",
        )
    )
