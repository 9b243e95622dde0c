"""agent/cli/checks/spool.py, on the spool's own database."""

from dataclasses import replace
from pathlib import Path

from agent.cli.checks import spool
from agent.cli.checks.finding import Box
from agent.clock import Clock
from agent.config.schema import Config, NodeConfig, SpoolConfig
from agent.errors import AwayError
from agent.model import RecordClass
from agent.spool.record import Draft
from agent.spool.spool import open_spool


async def test_how_full_it_is_can_be_seen_while_the_agent_is_down(tmp_path: Path) -> None:
    config = Config(node=NodeConfig(state_dir=tmp_path), spool=SpoolConfig(limit_bytes=1 << 20))
    box = Box(config, Clock("b", lambda: 0, lambda: 0), AwayError(""))
    assert spool.check(box).text == "none yet"
    opened, _ = open_spool(tmp_path / "spool.db", limit_bytes=1 << 20, epoch="e", set_aside=".aside", clock=Clock("b"))
    await opened.append([Draft(RecordClass.EVENT, bytes(100_000), 5)] * 3)
    found = spool.check(box)
    assert (found.level, found.text.startswith("3 records wait, 2")) == ("ok", True)
    await opened.append([Draft(RecordClass.EVENT, bytes(100_000), 5)] * 4)
    await opened.close()
    assert spool.check(box).level == "warn"
    big = replace(box, config=replace(config, spool=SpoolConfig()))
    assert spool.check(big).level == "ok"


def test_a_file_that_is_no_database_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"x" * 5000)
    box = Box(Config(node=NodeConfig(state_dir=tmp_path)), Clock("b", lambda: 0, lambda: 0), AwayError(""))
    assert spool.check(box).level == "fail"
