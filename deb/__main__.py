"""python -m deb [--arch amd64|arm64|all] [--out DIR] [--version V] [--lock]: `./dev package`."""

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from deb import build, wheels


def main() -> int:
    """0 done; 1 something is wrong, lintian's findings among it."""
    parser = argparse.ArgumentParser(prog="./dev package", description=__doc__)
    parser.add_argument("--arch", choices=[*wheels.MACHINES, "all"], default="all")
    parser.add_argument("--out", type=Path, default=wheels.TOP / "dist", metavar="DIR")
    parser.add_argument("--version", help="instead of the checkout's")
    parser.add_argument("--lock", action="store_true", help="take the newest wheels that pyproject.toml allows")
    options = parser.parse_args()
    architectures = list(wheels.MACHINES) if options.arch == "all" else [options.arch]
    try:
        if options.lock:
            for architecture in architectures:
                wheels.renew(architecture)
                sys.stdout.write(f"{wheels.lock(architecture)}\n")
            return 0
        made = [
            build.build(architecture, options.out, kept=wheels.cache(), version=options.version)
            for architecture in architectures
        ]
    except (build.BuildError, wheels.WheelError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"package: {error}\n")
        return 1
    for package in made:
        sys.stdout.write(f"{hashlib.sha256(package.read_bytes()).hexdigest()}  {package}\n")
    return _lint(made)


def _lint(packages: list[Path]) -> int:
    if shutil.which("lintian") is None:
        sys.stderr.write("package: not looked at: lintian is not installed\n")
        return 0
    words = ("--fail-on=error,warning", "--allow-root")
    return subprocess.run(["lintian", *words, *map(str, packages)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
