"""The table of power cuts says of each what it met and what it cost, and sums it up."""

import json
from pathlib import Path

from hil.cuts import Cut, Life, Loss, Moment
from hil.ledger import Ledger


def test_outages_losses_and_totals_are_of_the_right_cut(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(1, Cut(Moment.RUNNING, 0.5, True), Life(100.0, 160.0, None), 140.0, "image 3 is pushed", 2, [])
    ledger.add(2, Cut(Moment.BOOT, 0.5, False), Life(161.0, 170.0, None), None, "", 2, None)
    ledger.write()
    assert "running  away" in (tmp_path / "cuts.txt").read_text()
    ledger.returned(205.0)
    lost = Loss(7, 3, (), 2, 1.25, 0)
    ledger.judged([Loss(50, 4, (("a", 1),), 0, 3.5, 0), lost])
    ledger.write()
    found = json.loads((tmp_path / "cuts.json").read_text())
    assert [row["outage_seconds"] for row in found["cuts"]] == [None, 35.0]
    assert [row["missing"] for row in found["cuts"]] == [1, 0]
    assert [row["examined"] for row in found["cuts"]] == ["sound", None]
    assert found["totals"]["acknowledged"] == 57
    assert found["totals"]["missing_last_moment"] == 2
    assert (found["totals"]["window_seconds_with_agent"], found["totals"]["window_seconds"]) == (3.5, 3.5)
