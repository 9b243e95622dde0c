from itertools import pairwise

import pytest

from agent.launcher.layout import SLOTS, uid_base
from tests.fakes.launcher import host, tree


def test_ranges_of_user_ids_never_touch_and_stay_in_the_unused_part() -> None:
    bases = [uid_base(slot) for slot in range(SLOTS)]
    assert bases[0] == 1879048192
    assert all(after - before == 65536 for before, after in pairwise(bases))
    assert bases[-1] + 65536 <= 2130706432


@pytest.mark.parametrize("slot", [-1, SLOTS])
def test_there_is_no_range_beyond_the_last(slot: int) -> None:
    with pytest.raises(ValueError, match="slot"):
        uid_base(slot)


def test_a_run_named_like_a_cgroup_file_gets_a_directory_of_its_own() -> None:
    assert tree().job("cpu.max") == "/jobs/run-cpu.max/job"
    assert str(tree().at("memory", "/jobs/x")) == "/cg/jobs/x"
    assert str(tree("v1").at("memory", "/jobs/x")) == "/cg/memory/jobs/x"


def test_logs_are_in_the_run_directory_and_state_is_not() -> None:
    here = host().places.run("a")
    assert str(here.log) == "/run/edge-launcher/logs/a"
    assert str(here.exit) == "/run/edge-launcher/live/a/exit"
    assert str(here.record) == "/var/lib/edge-launcher/runs/a/record.json"
