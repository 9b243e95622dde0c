"""One page of a run, for people: what was tested, what was done to the board, how long things took.

From what the run left in its report directory: junit.xml, times.json, figures.json, about.json, NAME.journal.
"""

import html
import json
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 0 0 2em }
td, th { text-align: left; vertical-align: top; padding: .25em .9em .25em 0; border-bottom: 1px solid #ddd }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.passed { color: #17692a } .failed, .error { color: #a4001d; font-weight: 600 } .skipped { color: #777 }
pre { white-space: pre-wrap; margin: .3em 0; font-size: 12px } small { color: #555 }
ul { margin: 0; padding-left: 1.2em }
"""


@dataclass(frozen=True)
class Test:
    name: str
    file: str
    seconds: float
    outcome: str  # passed, failed, error or skipped
    said: str  # why it failed or was skipped
    properties: tuple[tuple[str, str], ...]


def tests(junit: str) -> list[Test]:
    """In the order they ran, from the text of junit.xml (pytest's "xunit1")."""
    return [_test(case) for case in ET.fromstring(junit).iter("testcase")]


def _test(case: ET.Element) -> Test:
    outcome, said = "passed", ""
    for child in case:
        if child.tag in ("failure", "error", "skipped"):
            outcome = {"failure": "failed"}.get(child.tag, child.tag)
            message = child.get("message", "")
            said = message if outcome == "skipped" else child.text or message
    properties = ((each.get("name", ""), each.get("value", "")) for each in case.iter("property"))
    file = case.get("file", "")
    return Test(case.get("name", ""), Path(file).name, float(case.get("time", 0)), outcome, said, tuple(properties))


def render(target: str, about: dict[str, Any], ran: list[Test], measured: dict[str, str], journals: set[str]) -> str:
    """The page. `measured` is value and unit by what it is of; `journals` are the names of files beside the page."""
    counted = Counter(test.outcome for test in ran)
    summary = ", ".join(f"{counted[outcome]} {outcome}" for outcome in ("passed", "failed", "error", "skipped"))
    facts = "".join(_row(name, html.escape(str(value))) for name, value in about.items())
    figures = "".join(_row(html.escape(name), html.escape(value), numbers=True) for name, value in measured.items())
    rows = "".join(_of(test, journals) for test in ran)
    title = f"{html.escape(target)}: {summary} in {sum(test.seconds for test in ran) / 60:.0f} min"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><table>{facts}</table><h2>Measured</h2><table>{figures}</table>"
        f"<h2>Tests</h2><table><tr><th>Test<th>Outcome<th>Seconds<th>Injected, measured</tr>{rows}</table></html>\n"
    )


def write(target: str, report: Path) -> None:
    """`report`/index.html, from whatever of a run is there; nothing when pytest got as far as nothing."""
    if not (report / "junit.xml").exists():
        return
    measured = {name: f"{seconds} s" for name, seconds in _read(report / "times.json").items()}
    measured |= _read(report / "figures.json")
    journals = {path.name for path in report.glob("*.journal")}
    ran = tests((report / "junit.xml").read_text())
    (report / "index.html").write_text(render(target, _read(report / "about.json"), ran, measured, journals))


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text())) if file.exists() else {}


def _row(name: str, value: str, *, numbers: bool = False) -> str:
    return f"<tr><td>{name}<td{' class=number' if numbers else ''}>{value}</tr>"


def _of(test: Test, journals: set[str]) -> str:
    name = html.escape(test.name.removeprefix("test_").replace("_", " "))
    journal = f"{test.name}.journal"
    if journal in journals:
        name = f'<a href="{quote(journal)}">{name}</a>'
    said = f"<pre>{html.escape(test.said)}</pre>" if test.said else ""
    items = "".join(f"<li>{html.escape(name)}: {html.escape(value)}</li>" for name, value in test.properties)
    return (
        f"<tr><td>{name}<br><small>{html.escape(test.file)}</small>{said}"
        f'<td class="{test.outcome}">{test.outcome}<td class=number>{test.seconds:.1f}'
        f"<td>{f'<ul>{items}</ul>' if items else ''}</tr>"
    )
