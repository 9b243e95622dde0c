from pathlib import Path

import pytest

from agent.launcher import record
from agent.launcher.monitor import Process
from agent.launcher.protocol import Usage
from agent.launcher.record import Record

RUNNING = Record("a", "acme", 2, "boot", "running", Process(10, 100), Process(11, 110), 5)
ENDED = Record(
    "a", "acme", 2, "boot", "ended", Process(10, 100), Process(11, 110), 5, 9, 137, True, Usage(1, 2, 3, 4, 5)
)


@pytest.mark.parametrize("one", [RUNNING, ENDED, Record("b", "t", 0, "boot")])
def test_a_record_reads_as_it_was_written(tmp_path: Path, one: Record) -> None:
    record.write(tmp_path / "record.json", one)
    assert record.read(tmp_path / "record.json") == one
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"run": "a"}', '{"monitor": 1, "job": 2}'])
def test_half_a_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    assert record.read(tmp_path / "record.json") is None
    assert record.read(tmp_path / "missing") is None


def test_a_write_that_fails_keeps_the_old_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        record.write(tmp_path / "gone" / "record.json", RUNNING)


def test_a_state_tells_of_a_process_only_while_it_runs() -> None:
    assert (RUNNING.state().phase, RUNNING.state().pid, RUNNING.state().exit_code) == ("running", 11, None)
    state = ENDED.state()
    assert (state.phase, state.pid, state.exit_code, state.oom_killed, state.ended_unix_nano) == (
        "ended",
        0,
        137,
        True,
        9,
    )
