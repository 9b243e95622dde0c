import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.launcher import operation, plan
from agent.launcher.firewall import Link
from agent.launcher.layout import CgroupKind, Host
from agent.launcher.oci import Root
from agent.launcher.operation import Plan, SetCgroup
from agent.launcher.protocol import JobRequest, NetworkRequest
from agent.launcher.storage import ImageConfig
from tests.fakes.launcher import FULL, REQUEST, host

LINK = Link(FULL.run, FULL.tenant, FULL.job, 0, 7, FULL.network or NetworkRequest())
NETWORKED = replace(host(), netns=Path("/run/netns/store"), network="10.222.0.0/16")
IMAGE = "sha256:" + "a" * 64


def whole(request: JobRequest, here: Host) -> Plan:
    return (*plan.create(request, 0, here, {}), *plan.start(request.run, here))


@pytest.mark.parametrize("kind", ["v2", "v1-hybrid", "v1"])
def test_the_monitor_is_in_its_cgroup_before_the_job_exists_and_limited_only_after(kind: CgroupKind) -> None:
    steps = whole(REQUEST, host(kind))
    kinds = [type(step).__name__ for step in steps]
    made = [n for n, kind_ in enumerate(kinds) if kind_ == "MakeCgroup"]
    assert max(made) < kinds.index("StartMonitor") < kinds.index("StartJob")
    assert kinds[-1] == "SetCgroup"
    monitor = next(step for step in steps if isinstance(step, operation.StartMonitor))
    cgroups = [step.path for step in steps if isinstance(step, operation.MakeCgroup)]
    assert set(monitor.cgroups) <= set(cgroups)
    assert all(path.name == "monitor" for path in monitor.cgroups)
    config = next(step for step in steps if isinstance(step, operation.WriteFile))
    assert monitor.oom_score_adj == json.loads(config.text)["process"]["oomScoreAdj"] > 0


def test_on_v2_only_the_runs_own_cgroup_gives_controllers_down() -> None:
    steps = whole(REQUEST, host())
    enabled = {step.path: step.enable for step in steps if isinstance(step, operation.MakeCgroup)}
    assert enabled == {
        Path("/cg/jobs/run-a.1"): ("cpu", "io", "memory", "pids"),
        Path("/cg/jobs/run-a.1/monitor"): (),
    }
    assert operation.SetCgroup(Path("/cg/jobs/run-a.1/monitor/cpu.max"), "10000 100000") in steps


def test_the_log_is_bounded_by_the_request() -> None:
    steps = whole(replace(REQUEST, log_bytes=12345), host())
    argv = next(step for step in steps if isinstance(step, operation.StartMonitor)).argv
    assert argv[argv.index("--log-size-max") + 1] == "12345"
    assert "k8s-file:/run/edge-launcher/logs/a.1" in argv


def test_the_same_request_makes_the_same_plan() -> None:
    assert plan.create(FULL, 5, NETWORKED, {"a": 1}, link=LINK) == plan.create(FULL, 5, NETWORKED, {"a": 1}, link=LINK)


def test_every_mount_point_of_a_run_is_made_beforehand() -> None:
    root = host().places.rootfs
    made = {
        step.path
        for step in plan.skeleton(host().places)
        if isinstance(step, operation.MakeDirectory | operation.WriteFile | operation.MakeLink)
    }
    config = next(step for step in whole(REQUEST, host()) if isinstance(step, operation.WriteFile))
    points = {mount["destination"] for mount in json.loads(config.text)["mounts"]} - {"/dev/pts", "/dev/shm"}
    assert {root / point.lstrip("/") for point in points} <= made


def test_what_is_roots_alone_is_closed() -> None:
    places = host().places
    modes = {step.path: step.mode for step in plan.skeleton(places) if isinstance(step, operation.MakeDirectory)}
    assert modes[places.runs] == modes[places.logs] == modes[places.runtime] == 0o700
    assert modes[places.state_dir] == modes[places.run_dir] == 0o711


def test_a_plan_can_be_read_by_people_and_by_programs() -> None:
    steps = (*plan.skeleton(host().places), *whole(REQUEST, host()))
    text = plan.as_text(steps)
    assert "  1 mkdir -m 0711 /var/lib/edge-launcher\n" in text
    assert '"noNewPrivileges": true' in text
    assert [one["operation"] for one in json.loads(plan.as_json(steps))] == [type(step).__name__ for step in steps]


def test_a_plain_run_takes_no_process_but_monitor_and_runtime() -> None:
    kinds = {type(step).__name__ for step in whole(REQUEST, host())}
    assert kinds == {"MakeDirectory", "WriteFile", "MakeCgroup", "StartMonitor", "StartJob", "SetCgroup"}


def test_a_secret_is_in_no_description_and_in_no_config() -> None:
    steps = plan.create(FULL, 0, NETWORKED, {}, link=LINK)
    shown = plan.as_text(steps) + plan.as_json(steps) + repr(steps)
    assert "hunter2" not in shown
    assert "aHVudGVyMg" not in shown
    written = next(step for step in steps if isinstance(step, operation.WriteSecrets))
    assert (written.uid, written.names, written.contents) == (1879048192 + 1000, ("TOKEN",), (b"hunter2",))


def test_secrets_are_in_memory_of_their_own_and_only_while_the_sandbox_is_made() -> None:
    here = replace(host(), noswap=True)
    steps = plan.create(replace(REQUEST, secrets={"A": ""}), 3, here, {})
    mount = next(step for step in steps if isinstance(step, operation.Mount))
    assert mount.kind == "tmpfs"
    assert mount.data == "size=512k,nr_inodes=64,mode=0500,uid=1879245800,gid=1879245800,noswap"
    kinds = [type(step).__name__ for step in steps]
    assert kinds.index("Mount") < kinds.index("WriteSecrets") < kinds.index("StartMonitor") < kinds.index("Unmount")
    assert steps[-1] == operation.Unmount(mount.path)


def test_the_brokers_directory_is_mounted_where_a_mapped_user_comes_by_and_only_while_the_sandbox_is_made() -> None:
    steps = plan.create(replace(REQUEST, mqtt=True), 3, host(), {})
    mount = next(step for step in steps if isinstance(step, operation.Mount))
    assert mount == operation.Mount("/run/edge-broker/jobs", Path("/run/edge-launcher/mqtt/a.1"), "none", 0x1000)
    kinds = [type(step).__name__ for step in steps]
    assert kinds.index("Mount") < kinds.index("StartMonitor")
    assert steps[-1] == operation.Unmount(mount.path)
    assert "mount -t none" in plan.as_text(steps)
    assert "/run/mqtt" not in plan.as_text(plan.create(REQUEST, 3, host(), {}))


def test_what_is_attached_to_a_run_is_there_before_its_sandbox_and_let_go_after() -> None:
    root = Root(Path("/run/edge-launcher/mounts/a.1/root"), ImageConfig(("/app",), {}, "/srv", 0, 0))
    steps = plan.create(replace(FULL, image=IMAGE), 0, NETWORKED, {}, link=LINK, root=root)
    monitor = next(n for n, step in enumerate(steps) if isinstance(step, operation.StartMonitor))
    made = {type(step).__name__ for step in steps[:monitor]}
    assert {"Run", "MakeDisk", "MountFile", "Mount", "WriteSecrets"} <= made
    assert not any(isinstance(step, operation.Unmount) for step in steps[:monitor])
    after = [type(step).__name__ for step in steps[monitor + 1 :]]
    assert after == ["LimitDevice", "Unmount", "Unmount", "Unmount"]


def test_the_monitor_may_not_keep_the_disk_busy() -> None:
    limits = [step.text for step in plan.start("a.1", replace(host(), state_device="8:0")) if hasattr(step, "text")]
    assert limits == ["10000 100000", "8:0 rbps=1048576 wbps=1048576"]


def test_only_runc_is_started_without_a_process() -> None:
    runc = replace(host(), runtime=Path("/usr/sbin/runc"))
    gates = [plan.start("a.1", here)[0] for here in (runc, host())]
    assert [step.gate for step in gates if isinstance(step, operation.StartJob)] == [
        Path("/run/edge-launcher/runtime/a.1/exec.fifo"),
        None,
    ]


def test_on_v1_the_queues_of_a_runs_own_connections_are_its_memory() -> None:
    limit = Path("/cg/memory/jobs/run-a.1/job/memory.kmem.tcp.limit_in_bytes")
    assert SetCgroup(limit, str(REQUEST.memory_bytes)) in plan.create(REQUEST, 0, host("v1"), {})
    set_on_v2 = [step.path.name for step in whole(REQUEST, host("v2")) if isinstance(step, SetCgroup)]
    assert limit.name not in set_on_v2
