"""The board itself: what the agent will find."""

from typing import Any

import pytest

from hil.board import PATIENCE


@pytest.mark.core
def test_it_boots_to_running_with_no_failed_unit(booted: Any) -> None:
    state, _, _ = booted.run("systemctl is-system-running --wait", timeout=240 * PATIENCE)
    assert state == ["running"], booted.run("systemctl --failed --no-legend")


@pytest.mark.core
def test_cgroups_are_pure_v2_with_the_controllers_jobs_need(booted: Any) -> None:
    assert booted.run_check("stat -fc %T /sys/fs/cgroup") == ["cgroup2fs"]
    controllers = booted.run_check("cat /sys/fs/cgroup/cgroup.controllers")[0].split()
    assert {"cpu", "memory", "pids", "io"} <= set(controllers)


@pytest.mark.core
def test_it_has_what_the_sandbox_is_made_of(booted: Any) -> None:
    booted.run_check("command -v crun conmon catatonit nft tc mkfs.ext4 skopeo umoci")
