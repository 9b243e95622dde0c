"""Which wheels of others are in the package, by hash, and how they get here: NAME.lock, one for each architecture."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parent.parent
PYTHON = "3.11"  # Debian 12's: whose bytecode and whose binary interface is in the package
# Debian's name, the wheels', and the ELF header's e_machine.
MACHINES = {"amd64": ("x86_64", 62), "arm64": ("aarch64", 183)}
# Debian 12 has glibc 2.36. The newest that fits is first: what pip on the machine itself would take.
_GLIBCS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
_LINE = re.compile(r"(\S+)==(\S+) --hash=sha256:([0-9a-f]{64})  # (\S+\.whl)")


class WheelError(Exception):
    """The lock or a wheel is not what it should be."""


@dataclass(frozen=True, slots=True, order=True)
class Wheel:
    name: str
    version: str
    sha256: str
    file: str

    def line(self) -> str:
        """As pip reads it: the hash binds, the file's name is for people."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}  # {self.file}"


def lock(architecture: str) -> Path:
    return Path(__file__).with_name(f"{architecture}.lock")


def read(architecture: str) -> tuple[Wheel, ...]:
    """Raises WheelError."""
    found = []
    for line in lock(architecture).read_text().splitlines():
        if line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise WheelError(f"{lock(architecture)}: {line}")
        found.append(Wheel(*match.groups()))
    return tuple(found)


def dependencies() -> list[str]:
    """What pyproject.toml asks for."""
    wanted: list[str] = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["dependencies"]
    return wanted


def renew(architecture: str) -> None:
    """Write the lock anew: the newest that pyproject.toml allows. Raises CalledProcessError; needs a package index."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        # --target only because pip wants one for another machine; nothing is installed.
        _pip(
            *("install", "--dry-run", "--ignore-installed", f"--target={scratch}/none", f"--report={report}"),
            *_for(architecture),
            *dependencies(),
        )
        entries = json.loads(report.read_text())["install"]
    wheels = sorted(
        Wheel(
            entry["metadata"]["name"].lower().replace("_", "-"),
            entry["metadata"]["version"],
            entry["download_info"]["archive_info"]["hashes"]["sha256"],
            entry["download_info"]["url"].rpartition("/")[2],
        )
        for entry in entries
    )
    about = f"# What is in the package for {architecture}, Python {PYTHON}. Written by ./dev package --lock."
    lock(architecture).write_text("\n".join([about, *(wheel.line() for wheel in wheels)]) + "\n")


def cache() -> Path:
    """Where wheels are kept from one build to the next."""
    if os.geteuid() == 0:
        return Path("/var/cache/store-edge-agent/deb")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "store-edge-agent/deb"


def fetch(architecture: str, kept: Path) -> tuple[Path, ...]:
    """The files, in the lock's order: from `kept`, or from a package index the first time.

    Raises WheelError when one is not what the lock says, CalledProcessError.
    """
    wanted = read(architecture)
    digest = hashlib.sha256(lock(architecture).read_bytes()).hexdigest()[:16]
    folder = kept / f"{architecture}-{digest}"
    if not folder.exists():
        kept.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=kept))
        try:
            locked = ("--require-hashes", f"--requirement={lock(architecture)}")
            _pip("download", f"--dest={partial}", *_for(architecture), *locked)
            partial.chmod(0o755)
            if not folder.exists():  # somebody else may have been faster
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    files = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in folder.glob("*.whl")}
    if sorted(files) != sorted(wheel.sha256 for wheel in wanted):
        raise WheelError(f"{folder} is not what {lock(architecture)} says; remove it")
    return tuple(files[wheel.sha256] for wheel in wanted)


def unpack(wheel: Path, site: Path) -> None:
    """What installing it does, less the scripts and pip's own notes: the same bytes whichever pip there is.

    Raises WheelError.
    """
    with zipfile.ZipFile(wheel) as archive:
        if any(name.partition("/")[0].endswith(".data") for name in archive.namelist()):
            raise WheelError(f"{wheel.name}: has files that don't go into site-packages")
        archive.extractall(site)


def _for(architecture: str) -> list[str]:
    machine, _ = MACHINES[architecture]
    platforms = [f"--platform={glibc}_{machine}" for glibc in _GLIBCS]
    return ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", *platforms]


def _pip(*words: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    subprocess.run([sys.executable, "-m", "pip", *words, *quiet], check=True)
