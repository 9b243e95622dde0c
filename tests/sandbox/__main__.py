"""`./dev probes`: every probe in a job of ours, in `podman run`, and in --privileged, where it should get through."""

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.sandbox import pack
from tests.sandbox.grounds import Ground, ours
from tests.sandbox.podman import podman
from tests.sandbox.probes.verdict import Probe
from tests.sandbox.prove import Lateness, Proof, Result

PAGE = Path(__file__).parents[2] / "docs" / "SANDBOX.md"
BEGIN, END = "<!-- ./dev probes --write: begin -->", "<!-- ./dev probes --write: end -->"
_TITLES = {
    "escape": "Escape: out of the sandbox, or more rights in it",
    "snoop": "Snoop: what is others' to know",
    "exhaust": "Exhaust: more than one's share",
}
# The clock is the one thing that a probe would change on the host: it sets it, to what it is.
_PRIVILEGED = ("--privileged", "--cap-drop", "sys_time")


@dataclass(frozen=True)
class Row:
    probe: Probe
    ours: Result
    podman: Result
    privileged: Result | None  # None: not tried there


def _all(ground: Ground, files: dict[str, list[Probe]]) -> dict[str, Result]:
    proof = Proof(ground)
    for file, probes in files.items():
        for probe in probes:
            result = proof.of(file, probe, probes)
            sys.stderr.write(f"{type(ground).__name__:7} {probe.name:24} {result.verdict}\n")
            for complaint in result.complaints:
                sys.stderr.write(f"{'':32} {complaint}\n")
    return proof.done


def _rows() -> list[Row]:
    files = pack.registry()
    shared = {file: probes for file, probes in files.items() if file not in pack.ALONE}
    with ours() as ground:
        mine = _all(ground, files)
    with podman() as ground:
        theirs = _all(ground, files)
    with podman(*_PRIVILEGED) as ground:
        control = _all(ground, shared)
    return [Row(mine[name].probe, mine[name], theirs[name], control.get(name)) for name in mine]


def _cell(result: Result) -> str:
    # `held: EPERM` is said as held (EPERM)
    word, detail = result.verdict.split(":", 1)
    said = re.sub(r"[^\x20-\x7e]", "?", detail.strip())[:110].replace("|", "/").replace("<", "&lt;")
    said = said.replace("_", r"\_").replace("*", r"\*").replace("`", "'")
    bold = {"held": "held", "measured": "measured", "ESCAPED": "**through**"}.get(word, f"**{word}**")
    hurt = f"; **{'; '.join(result.complaints)}**" if result.complaints else ""
    return f"{bold}: {said}{hurt}"


def _late(during: Lateness) -> str:
    return f"{during.median / 1000:.1f} / {during.p99 / 1000:.1f}"


def _line(row: Row) -> str:
    proves_little = row.privileged is not None and row.privileged.word == "held" and row.podman.word == "held"
    tries = row.probe.says.replace("|", "/").replace("_", r"\_").replace("*", r"\*")
    cells = [f"`{row.probe.name}`{' †' if proves_little else ''}", tries, _cell(row.ours), _cell(row.podman)]
    if row.probe.category == "exhaust":
        cells += [_late(row.ours.during), _late(row.podman.during)]
    return f"| {' | '.join(cells)} |"


def as_table(rows: list[Row], where: str) -> str:
    """The part of the page that is made by this command."""
    through = [row for row in rows if row.ours.word not in ("held", "measured")]
    others = [row for row in rows if row.podman.word == "ESCAPED"]
    lines = [
        f"{len(rows)} probes on {where}.",
        f"Let through by this sandbox: {len(through)}. Let through by `podman run`: {len(others)}.",
    ]
    for category, title in _TITLES.items():
        late = category == "exhaust"
        lines += ["", f"### {title}", ""]
        lines.append("| probe | tries | this sandbox | `podman run` |" + (" neighbour | podman's |" if late else ""))
        lines.append("|---|---|---|---|" + ("---|---|" if late else ""))
        lines += [_line(row) for row in rows if row.probe.category == category]
    return "\n".join(lines)


def _where() -> str:
    with ours() as ground:
        runtime = ground.facts()
    version = subprocess.run(["podman", "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    kernel = os.uname()
    return f"Linux {kernel.release} {kernel.machine}, {runtime}, podman {version}"


def _as_json(rows: list[Row], where: str) -> dict[str, Any]:
    def one(result: Result | None) -> dict[str, Any] | None:
        if result is None:
            return None
        return {
            "verdict": result.verdict,
            "neighbour_late_micro": {"median": result.during.median, "p99": result.during.p99},
            "complaints": list(result.complaints),
        }

    probes = [
        {
            "name": row.probe.name, "category": row.probe.category, "tries": row.probe.says,
            "ours": one(row.ours), "podman": one(row.podman), "podman_privileged": one(row.privileged),
        }
        for row in rows
    ]  # fmt: skip
    return {"where": where, "probes": probes}


def replaced(page: str, table: str) -> str:
    """The page with what is between its marks made new. Raises ValueError without the marks."""
    begin, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    return f"{page[:begin]}\n{table}\n{page[end:]}"


def main() -> int:
    """0: every probe is held by this sandbox, and nobody else was hurt; 1: not."""
    parser = argparse.ArgumentParser(prog="./dev probes", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    where, rows = _where(), _rows()
    table = as_table(rows, where)
    if args.json:
        args.json.write_text(json.dumps(_as_json(rows, where), indent=1) + "\n")
    if args.write:
        PAGE.write_text(replaced(PAGE.read_text(), table))
    else:
        sys.stdout.write(f"{table}\n")
    return int(any(row.ours.word not in ("held", "measured") or row.ours.complaints for row in rows))


if __name__ == "__main__":
    sys.exit(main())
