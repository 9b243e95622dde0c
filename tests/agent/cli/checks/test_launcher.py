"""agent/cli/checks/launcher.py."""

from dataclasses import replace

from agent.cli.checks import launcher
from agent.cli.checks.finding import Box
from agent.clock import Clock
from agent.config.schema import Config, JobsConfig
from agent.errors import AwayError
from agent.sandbox import HostFacts

FACTS = HostFacts("crun", "1.8", "v2", True, 4, 1 << 30, "boot", network=True, idmap=True)
BOX = Box(Config(), Clock("b", lambda: 0, lambda: 0), FACTS)


def test_what_it_can_is_said_and_what_it_lacks_warned_of() -> None:
    assert launcher.check(BOX).text == "crun 1.8, cgroup v2, 4 CPUs"
    found = launcher.check(replace(BOX, launcher=replace(FACTS, network=False)))
    assert (found.level, "no networks here" in found.text) == ("warn", True)


def test_one_that_is_away_is_a_failure_unless_jobs_are_off() -> None:
    away = replace(BOX, launcher=AwayError("no such file"))
    assert launcher.check(away).level == "fail"
    assert launcher.check(replace(away, config=Config(jobs=JobsConfig(enabled=False)))).level == "ok"
