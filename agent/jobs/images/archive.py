"""Takes an OCI archive apart: python -I archive.py ARCHIVE DIRECTORY. A program of its own, run as a bounded child.

Standard library only; tarfile would stay in the daemon's memory for a push a month. Not skopeo: its 1.9 unpacks an
archive to /var/tmp and, unless it is root, fails on one that has no entries for its directories.
"""

import os
import re
import sys
import tarfile
from pathlib import Path
from typing import Any, cast

_NAMES = re.compile(r"(?:\./)?(index\.json|blobs/sha256/[0-9a-f]{64})")
_PIECE_BYTES = 1 << 20


def unpack(archive: Path, directory: Path) -> None:
    """Only plain files with the names that an OCI layout has are written; whatever else is in there is passed over."""
    (directory / "blobs" / "sha256").mkdir(parents=True)
    with tarfile.open(archive, "r:") as tar:
        for member in tar:
            # It remembers every one, and a hostile archive has millions. In the types it has no such attribute.
            cast("Any", tar).members.clear()
            name = _NAMES.fullmatch(member.name)
            content = tar.extractfile(member) if name and member.isreg() else None
            if name and content:
                fd = os.open(directory / name[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(fd, "wb") as file:
                    while piece := content.read(_PIECE_BYTES):
                        file.write(piece)


if __name__ == "__main__":
    try:
        unpack(Path(sys.argv[1]), Path(sys.argv[2]))
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        sys.exit(f"{error}")
