"""What every benchmark says in the end: rows of ours against a named peer, as a table for people and as JSON."""

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """Both values in `unit`, medians; `goal` is the most that ours / peer may be."""

    metric: str
    unit: str
    ours: float
    peer: str
    peer_value: float
    goal: float

    @property
    def ratio(self) -> float:
        return self.ours / self.peer_value

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "unit": self.unit,
            "ours": round(self.ours, 3),
            "peer": self.peer,
            "peer_value": round(self.peer_value, 3),
            "ratio": round(self.ratio, 3),
            "goal": self.goal,
            "met": self.ratio <= self.goal,
        }


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Least, median, 90th percentile and most."""
    return {
        "min": round(min(samples), 3),
        "median": round(statistics.median(samples), 3),
        "p90": round(statistics.quantiles(samples, n=10)[8], 3),
        "max": round(max(samples), 3),
    }


def report(bench: str, rows: Sequence[Row], samples: dict[str, Sequence[float]], json_file: Path | None) -> bool:
    """Print the table, write the JSON; `samples` are the single measurements by name. True when every goal is met."""
    result = {
        "bench": bench,
        "rows": [row.to_json() for row in rows],
        "runs": min(map(len, samples.values())),
        "spread": {name: spread(values) for name, values in samples.items()},
    }
    lines = [("metric", "ours", "peer", "peer's", "ratio", "goal", "")]
    for row in rows:
        one = row.to_json()
        lines.append((
            row.metric, f"{row.ours:.1f} {row.unit}", row.peer, f"{row.peer_value:.1f} {row.unit}",
            f"{row.ratio:.2f}", f"<= {row.goal:g}", "met" if one["met"] else "MISSED",
        ))  # fmt: skip
    widths = [max(len(line[column]) for line in lines) for column in range(7)]
    print(f"{bench}: medians of {result['runs']} runs")
    for line in lines:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())
    for name, values in result["spread"].items():
        print(f"  {name}: " + ", ".join(f"{key} {value:g}" for key, value in values.items()))
    if json_file:
        json_file.write_text(json.dumps(result, indent=1) + "\n")
    return all(row.ratio <= row.goal for row in rows)


def json_option() -> Path | None:
    """`--json FILE` of the command line."""
    words = sys.argv[1:]
    return Path(words[words.index("--json") + 1]) if "--json" in words else None
