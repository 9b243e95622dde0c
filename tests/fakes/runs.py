"""Runs on a machine that starts nothing: what an earlier launcher left there, and the one that finds it."""

import os
from dataclasses import replace
from pathlib import Path

from agent.launcher import execute, monitor, plan, record
from agent.launcher.image import Images
from agent.launcher.layout import Host, Places, Tree
from agent.launcher.monitor import Process
from agent.launcher.policy import Policy
from agent.launcher.record import Record, Stage
from agent.launcher.runs import Runs
from tests.fakes.launcher import host

ME = monitor.process(os.getpid())
GONE = Process(ME.pid, ME.start_ticks + 1)


def idle_host(tmp_path: Path) -> Host:
    """A machine whose runtime does nothing and whose cgroups are plain directories."""
    places = Places(tmp_path / "state", tmp_path / "run")
    execute.perform(plan.skeleton(places))
    cgroups = Tree("v2", "/jobs", (("", tmp_path / "cg"),), top="/jobs")
    return replace(host(places=places, cgroups=cgroups), runtime=Path("/bin/true"), conmon=Path("/no/such/conmon"))


def runs(here: Host, policy: Policy = Policy(0)) -> Runs:  # noqa: B008 frozen
    return Runs(here, policy, {}, Images(here, policy.image_dir, policy.max_image_bytes), wall_nano=lambda: 77)


def left(
    here: Host, run: str, stage: Stage = "running", holder: Process = ME, boot: str = "boot-1", code: str = ""
) -> Record:
    """What an earlier launcher left on disk."""
    one = Record(run, "acme", 4, boot, stage, holder, ME, 5)
    places = here.places.run(run)
    places.live.mkdir(parents=True, exist_ok=True)
    places.directory.mkdir(parents=True)
    record.write(places.record, one)
    if code:
        places.exit.write_text(code)
    return one
