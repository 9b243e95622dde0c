"""What every benchmark says in the end: rows of ours against a named peer, as a table for people and as JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """Samples of ours and of the peer, taken in the same run, in `unit`; less is better.

    `goal` is the most that our median may be, `goal_ratio` the most that it may be of the peer's.
    """

    metric: str
    unit: str
    ours: Sequence[float]
    peer: str
    peer_value: Sequence[float]
    goal: float | None = None
    goal_ratio: float | None = None

    @property
    def ratio(self) -> float | None:
        peer = statistics.median(self.peer_value)
        return statistics.median(self.ours) / peer if peer else None

    @property
    def met(self) -> bool | None:
        """None without a goal."""
        if self.goal is not None:
            return statistics.median(self.ours) <= self.goal
        if self.goal_ratio is not None:
            return self.ratio is not None and self.ratio <= self.goal_ratio
        return None

    def goal_text(self) -> str:
        if self.goal is not None:
            return f"<= {self.goal:g} {self.unit}"
        return "" if self.goal_ratio is None else f"ratio <= {self.goal_ratio:g}"

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "unit": self.unit,
            "ours": round(statistics.median(self.ours), 3),
            "peer": self.peer,
            "peer_value": round(statistics.median(self.peer_value), 3),
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "goal": self.goal_text(),
            "met": self.met,
            "spread": {"ours": _spread(self.ours), "peer": _spread(self.peer_value)},
        }


def _spread(samples: Sequence[float]) -> dict[str, float]:
    return {"min": round(min(samples), 3), "max": round(max(samples), 3), "runs": len(samples)}


def publish(bench: str, rows: Sequence[Row], json_file: Path | None) -> bool:
    """Print the table (medians, with the least and the most beside), write the JSON. True when no goal is missed."""
    lines = [("metric", "ours", "min..max", "peer", "peer's", "min..max", "ratio", "goal", "")]
    for row in rows:
        one = row.to_json()
        lines.append(
            (
                row.metric,
                f"{one['ours']:.2f} {row.unit}",
                "{min:.2f}..{max:.2f}".format_map(one["spread"]["ours"]),
                row.peer,
                f"{one['peer_value']:.2f} {row.unit}",
                "{min:.2f}..{max:.2f}".format_map(one["spread"]["peer"]),
                "-" if row.ratio is None else f"{row.ratio:.2f}",
                one["goal"],
                {True: "met", False: "MISSED", None: ""}[row.met],
            )
        )
    runs = min(len(samples) for row in rows for samples in (row.ours, row.peer_value))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    print(f"{bench}: medians of {runs} runs")
    for line in lines:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())
    if json_file:
        result = {"bench": bench, "runs": runs, "rows": [row.to_json() for row in rows]}
        json_file.write_text(json.dumps(result, indent=1) + "\n")
    return all(row.met is not False for row in rows)
