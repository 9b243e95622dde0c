"""An OCI image made here: this machine's shell, what it is linked with, and one file that only the image has."""

import re
import subprocess
from pathlib import Path

from tests.layouts import ARCHITECTURE
from tests.registry import image, layer, write_archive

LAST_LINE = "soup of the day: lentil"
_SHELL = Path("/bin/sh")


def archive(path: Path) -> Path:
    """An OCI archive, as `skopeo copy ... oci-archive:FILE` makes it."""
    linked = subprocess.run(["ldd", _SHELL], capture_output=True, text=True, check=True).stdout
    files = {"bin/sh": _SHELL.read_bytes()}
    for library in re.findall(r"(/\S+) \(0x", linked):
        files[library.lstrip("/")] = Path(library).read_bytes()
    files["menu.txt"] = f"today\n{LAST_LINE}\n".encode()
    command = ("/bin/sh", "-c", 'while read -r line; do echo "$line"; done < /menu.txt')
    return write_archive(image(layer(files), architecture=ARCHITECTURE, command=command), path)
