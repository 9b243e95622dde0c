import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.launcher import operation, plan
from agent.launcher.layout import CgroupKind
from tests.fakes.launcher import REQUEST, host


@pytest.mark.parametrize("kind", ["v2", "v1-hybrid", "v1"])
def test_the_monitor_is_in_its_cgroup_before_the_job_exists_and_limited_only_after(kind: CgroupKind) -> None:
    steps = plan.start(REQUEST, 0, host(kind), {})
    kinds = [type(step).__name__ for step in steps]
    made = [n for n, kind_ in enumerate(kinds) if kind_ == "MakeCgroup"]
    assert max(made) < kinds.index("StartMonitor") < kinds.index("StartJob") < kinds.index("SetCgroup")
    monitor = next(step for step in steps if isinstance(step, operation.StartMonitor))
    cgroups = [step.path for step in steps if isinstance(step, operation.MakeCgroup)]
    assert set(monitor.cgroups) <= set(cgroups)
    assert all(path.name == "monitor" for path in monitor.cgroups)
    config = next(step for step in steps if isinstance(step, operation.WriteFile))
    assert monitor.oom_score_adj == json.loads(config.text)["process"]["oomScoreAdj"] > 0


def test_on_v2_only_the_runs_own_cgroup_gives_controllers_down() -> None:
    steps = plan.start(REQUEST, 0, host(), {})
    enabled = {step.path: step.enable for step in steps if isinstance(step, operation.MakeCgroup)}
    assert enabled == {
        Path("/cg/jobs/run-a.1"): ("cpu", "memory", "pids"),
        Path("/cg/jobs/run-a.1/monitor"): (),
    }
    assert operation.SetCgroup(Path("/cg/jobs/run-a.1/monitor/cpu.max"), "10000 100000") in steps


def test_the_log_is_bounded_by_the_request() -> None:
    steps = plan.start(replace(REQUEST, log_bytes=12345), 0, host(), {})
    argv = next(step for step in steps if isinstance(step, operation.StartMonitor)).argv
    assert argv[argv.index("--log-size-max") + 1] == "12345"
    assert "k8s-file:/run/edge-launcher/logs/a.1" in argv


def test_the_same_request_makes_the_same_plan() -> None:
    assert plan.start(REQUEST, 5, host(), {"a": 1}) == plan.start(REQUEST, 5, host(), {"a": 1})


def test_every_mount_point_of_a_run_is_made_beforehand() -> None:
    root = host().places.rootfs
    made = {
        step.path
        for step in plan.skeleton(host().places)
        if isinstance(step, operation.MakeDirectory | operation.WriteFile | operation.MakeLink)
    }
    config = next(step for step in plan.start(REQUEST, 0, host(), {}) if isinstance(step, operation.WriteFile))
    points = {mount["destination"] for mount in json.loads(config.text)["mounts"]} - {"/dev/pts", "/dev/shm"}
    assert {root / point.lstrip("/") for point in points} <= made


def test_what_is_roots_alone_is_closed() -> None:
    places = host().places
    modes = {step.path: step.mode for step in plan.skeleton(places) if isinstance(step, operation.MakeDirectory)}
    assert modes[places.runs] == modes[places.logs] == modes[places.runtime] == 0o700
    assert modes[places.state_dir] == modes[places.run_dir] == 0o711


def test_a_plan_can_be_read_by_people_and_by_programs() -> None:
    steps = (*plan.skeleton(host().places), *plan.start(REQUEST, 0, host(), {}))
    text = plan.as_text(steps)
    assert "  1 mkdir -m 0711 /var/lib/edge-launcher\n" in text
    assert '"noNewPrivileges": true' in text
    assert [one["operation"] for one in json.loads(plan.as_json(steps))] == [type(step).__name__ for step in steps]
