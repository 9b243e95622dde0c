"""A probe file as the argument of a job's python3: the job's /work is empty, and a command holds 16 KiB."""

import base64
import importlib
import zlib
from pathlib import Path

from tests.sandbox.probes import verdict

HERE = Path(__file__).parent / "probes"
FILES = ("calls", "kernel", "snoop", "disk", "network", "exhaust")
ALONE = ("exhaust",)  # whose probes each have a job of their own; those of the others share one

# The job has no tests/: the packages' names are put in place, and `verdict` first.
_LOADER = """
import base64, sys, types, zlib
for name in ("tests", "tests.sandbox", "tests.sandbox.probes"):
    sys.modules[name] = types.ModuleType(name)
for name, source in zip(("verdict", sys.argv[1]), zlib.decompress(base64.b85decode(sys.argv[2])).decode().split("\\0")):
    module = types.ModuleType("tests.sandbox.probes." + name)
    sys.modules[module.__name__] = module
    exec(compile(source, name, "exec"), module.__dict__)
sys.modules["tests.sandbox.probes.verdict"].SECONDS = float(sys.argv[4])
sys.modules["tests.sandbox.probes.verdict"].main(sys.argv[3].split(","))
"""


def argv(file: str, names: list[str], seconds: float = verdict.SECONDS) -> tuple[str, ...]:
    """Runs those probes of probes/<file>.py, one after the other, and says a line of each.

    `seconds` is how long one may be silent: a machine that is emulated takes its time.
    """
    sources = [(HERE / f"{name}.py").read_text() for name in ("verdict", file)]
    packed = base64.b85encode(zlib.compress("\0".join(sources).encode(), 9)).decode()
    words = ("/usr/bin/python3", "-c", _LOADER, file, packed, ",".join(names), str(seconds))
    assert sum(map(len, words)) <= 16384, f"{file}.py has grown too big for a command: {sum(map(len, words))}"
    return words


def registry() -> dict[str, list[verdict.Probe]]:
    """The probes of each file, in the order of the files."""
    found: dict[str, list[verdict.Probe]] = {}
    for file in FILES:
        before = set(verdict.PROBES)
        importlib.import_module(f"tests.sandbox.probes.{file}")
        found[file] = [probe for name, probe in verdict.PROBES.items() if name not in before]
    return found
