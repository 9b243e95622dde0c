"""One package from this checkout, bit for bit the same each time it is built of the same."""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from agent.jobs.store import VERSION as JOBS
from agent.mqtt.access.accounts_file import _VERSION as ACCOUNTS
from agent.mqtt.commands.queue_file import _VERSION as COMMANDS
from agent.mqtt.registry.registry_file import _VERSION as DEVICES
from agent.spool.file import SCHEMA_VERSION as SPOOL
from deb import tree
from deb.wheels import MACHINES, PYTHON, TOP

# The newest schema that this release reads: preinst refuses to go back below one that is there.
SCHEMAS = {
    "accounts.db": ACCOUNTS, "commands.db": COMMANDS, "devices.sqlite": DEVICES, "jobs.db": JOBS, "spool.db": SPOOL,
}  # fmt: skip
MAINTAINER = "Store Edge Agent developers <maintainers@store-edge.example>"
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


class BuildError(Exception):
    """This machine or this checkout can't build the package."""


def build(architecture: str, out: Path, *, kept: Path, version: str | None = None, level: int = 6) -> Path:
    """Write store-edge-agent_VERSION_ARCH.deb into `out`; `version` instead of the checkout's.

    Raises BuildError, WheelError, CalledProcessError.
    """
    if architecture not in MACHINES:
        raise BuildError(f"{architecture}: not one of {' '.join(MACHINES)}")
    if sys.version_info[:2] != tuple(int(number) for number in PYTHON.split(".")):
        raise BuildError(f"the package holds bytecode of Python {PYTHON}: build it with that")
    version = version or tree.version()
    # As Debian sorts versions, 1.0rc1 would come after 1.0.
    debian = re.sub(r"\.?(a|b|rc|dev)(?=\d)", r"~\1", version)
    epoch = _epoch()
    out.mkdir(parents=True, exist_ok=True)
    package = out / f"store-edge-agent_{debian}_{architecture}.deb"
    with tempfile.TemporaryDirectory(prefix="store-edge-agent-deb-") as scratch:
        root = Path(scratch, "root")
        tree.lay(root, architecture, version, kept)
        when = format_datetime(datetime.fromtimestamp(epoch, UTC))
        tree.document(root, _changelog(debian, when))
        tree.settle(root, epoch)
        _control(root, architecture, debian)
        tree.settle(root, epoch)
        partial = Path(scratch, package.name)
        # One thread: how many there are shows in the compressed bytes.
        words = ("--root-owner-group", "--threads-max=1", "-Zxz", f"-z{level}", "--build", str(root), str(partial))
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
        subprocess.run(["dpkg-deb", *words], check=True, env=environment, stdout=subprocess.DEVNULL)
        package.write_bytes(partial.read_bytes())
    return package


def _epoch() -> int:
    """Seconds since 1970: the commit's time, unless SOURCE_DATE_EPOCH says otherwise."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    done = subprocess.run(
        ["git", "-C", str(TOP), "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BuildError("not a git checkout: set SOURCE_DATE_EPOCH")
    return int(done.stdout)


def _changelog(version: str, when: str) -> str:
    return (
        f"store-edge-agent ({version}) stable; urgency=medium\n\n  * CHANGELOG.md of the source says what changed.\n\n"
        f" -- {MAINTAINER}  {when}\n"
    )


def _control(root: Path, architecture: str, version: str) -> None:
    here = Path(__file__).parent
    control = root / "DEBIAN"
    control.mkdir()
    kibibytes = sum(-(-path.stat().st_size // 1024) for path in tree.files(root))
    words = {
        "VERSION": version,
        "ARCHITECTURE": architecture,
        "INSTALLED_SIZE": str(kibibytes),
        "MAINTAINER": MAINTAINER,
        "SCHEMAS": " ".join(f"{name}:{number}" for name, number in SCHEMAS.items()),
        "UNITS": " ".join(entry.file for entry in tree.placed() if entry.kind == "started"),
    }
    for name in ("control", *_SCRIPTS):
        text = (here / name).read_text()
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        (control / name).write_text(text)
        (control / name).chmod(0o644 if name == "control" else 0o755)
    # For `dpkg --verify`: the release in force is the same files by hard links.
    sums = ((hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(), path) for path in tree.files(root))
    (control / "md5sums").write_text("".join(f"{md5}  {path.relative_to(root)}\n" for md5, path in sums))
