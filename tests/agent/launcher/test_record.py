import json
from pathlib import Path

import pytest

from agent.launcher import record
from agent.launcher.monitor import Process
from agent.launcher.protocol import CheckRequest, Usage
from agent.launcher.record import Record
from tests.fakes.launcher import FULL

RUNNING = Record("a", "acme", 2, "boot", "running", Process(10, 100), Process(11, 110), 5)
ENDED = Record(
    "a", "acme", 2, "boot", "ended", Process(10, 100), Process(11, 110), 5, 9, 137, True, Usage(1, 2, 3, 4, 5)
)
FULLEST = Record(
    "c", "acme", 3, "boot", "held", job_name="c", image="sha256:x", disk_bytes=7, network=FULL.network, mark=9,
    check=CheckRequest(command=("true",)), fingerprint="f",
)  # fmt: skip


@pytest.mark.parametrize("one", [FULLEST, RUNNING, ENDED, Record("b", "t", 0, "boot")])
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


def test_a_record_of_an_older_launcher_is_understood(tmp_path: Path) -> None:
    record.write(tmp_path / "record.json", RUNNING)
    raw = json.loads((tmp_path / "record.json").read_text())
    old = {name: raw[name] for name in ("run", "tenant", "slot", "boot_id", "stage", "monitor", "job", "usage")}
    (tmp_path / "record.json").write_text(json.dumps(old | {"log_bytes": 5}))
    assert (found := record.read(tmp_path / "record.json")) is not None
    assert (found.monitor, found.image, found.network, found.link()) == (RUNNING.monitor, "host", None, None)


def test_a_held_run_has_not_begun_and_its_part_in_the_network_is_known() -> None:
    assert (FULLEST.state().phase, FULLEST.state().started_unix_nano, FULLEST.unborn) == ("held", 0, True)
    assert not RUNNING.unborn
    assert not ENDED.unborn
    link = FULLEST.link()
    assert link is not None
    assert (link.run, link.job, link.slot, link.mark, link.network) == ("c", "c", 3, 9, FULL.network)
