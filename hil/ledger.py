"""The table of power cuts: what each met, and what it cost. For people in cuts.txt, for machines in cuts.json."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hil.cuts import MARGIN_SECONDS, Cut, Life, Loss

_COLUMNS = {
    "cut": "#",
    "moment": "moment",
    "central": "central",
    "since_power_seconds": "s on",
    "since_agent_seconds": "s agent",
    "outage_seconds": "outage s",
    "service_run": "run",
    "acknowledged": "acked",
    "last_moment": "late",
    "missing": "missing",
    "missing_last_moment": "of late",
    "window_seconds": "window s",
    "twice": "twice",
    "examined": "disk",
    "interrupted": "interrupted",
}


class Ledger:
    """A row for each cut. What is only known later is filled in by `returned` and `judged`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.rows: list[dict[str, Any]] = []

    def add(
        self, number: int, cut: Cut, life: Life, back: float | None, doing: str, run: int, faults: list[str] | None
    ) -> None:
        self.returned(back)
        self.rows.append(
            {
                "cut": number,
                "moment": cut.moment.value,
                "central": "away" if cut.central_away else "there",
                "unix_seconds": round(life.cut, 2),
                "since_power_seconds": round(life.cut - life.on, 1),
                "since_agent_seconds": None if back is None else round(life.cut - back, 1),
                "outage_seconds": None,
                "service_run": run,
                "interrupted": doing,
                "examined": None if faults is None else "; ".join(faults) or "sound",
            }
        )

    def returned(self, back: float | None) -> None:
        """Central saw the agent again, after the newest cut; None: it was cut off again before that."""
        if self.rows and back is not None:
            self.rows[-1]["outage_seconds"] = round(back - self.rows[-1]["unix_seconds"], 1)

    def judged(self, losses: Sequence[Loss]) -> None:
        for row, loss in zip(self.rows, losses, strict=True):
            row["acknowledged"] = loss.acknowledged
            row["last_moment"] = loss.last_moment
            row["missing"] = len(loss.missing)
            row["missing_last_moment"] = loss.missing_last_moment
            row["window_seconds"] = round(loss.window, 2)
            row["twice"] = loss.twice

    def totals(self) -> dict[str, Any]:
        agent_there = [row for row in self.rows if row["since_agent_seconds"] is not None]
        there = [row["window_seconds"] for row in agent_there if row["since_agent_seconds"] > MARGIN_SECONDS]
        found: dict[str, Any] = {"cuts": len(self.rows)}
        for name in ("acknowledged", "missing", "last_moment", "missing_last_moment", "twice"):
            found[name] = sum(row[name] for row in self.rows)
        found["window_seconds_with_agent"] = max(there, default=0.0)
        found["window_seconds"] = max((row["window_seconds"] for row in self.rows), default=0.0)
        outages = sorted(row["outage_seconds"] for row in self.rows if row["outage_seconds"] is not None)
        found["outage_seconds_median"] = outages[len(outages) // 2] if outages else None
        return found

    def write(self) -> None:
        judged = bool(self.rows) and "missing" in self.rows[0]
        totals = self.totals() if judged else {}
        text = json.dumps({"totals": totals, "cuts": self.rows}, indent=2)
        (self._directory / "cuts.json").write_text(text)
        lines = [list(_COLUMNS.values()), *([_cell(row.get(name)) for name in _COLUMNS] for row in self.rows)]
        widths = [max(len(line[at]) for line in lines) for at in range(len(_COLUMNS))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        table += [f"{name}: {value}" for name, value in totals.items()]
        (self._directory / "cuts.txt").write_text("\n".join(table) + "\n")


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)
