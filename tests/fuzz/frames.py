"""A launcher that plans and does nothing: what any packet makes of it, and what no plan may hold whatever was asked."""

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.launcher import oci, plan, policy, seccomp
from agent.launcher.firewall import Link
from agent.launcher.layout import SLOTS, UID_BASE, UID_COUNT
from agent.launcher.operation import (
    MakeCgroup,
    MakeDirectory,
    MakeLink,
    Mount,
    Operation,
    Plan,
    Run,
    SetCgroup,
    StartJob,
    StartMonitor,
    Unmount,
    WriteFile,
    WriteSecrets,
)
from agent.launcher.policy import Policy
from agent.launcher.protocol import Checked, JobRequest, LauncherError, Reach, RunState, Usage
from agent.launcher.server import Server
from agent.launcher.storage import ImageConfig, LimitDevice, MakeDisk, MountFile
from tests.fakes.launcher import host

RULES = Policy(
    agent_uid=999, max_runs=64, max_cpu_milli=4000, max_memory_bytes=4 << 30, max_disk_bytes=1 << 30,
    images=("host", "oci"), network="10.222.0.0/16", egress=True, publish_ports=((20000, 29999),),
)  # fmt: skip
HOST = replace(host("v2"), network=RULES.network, netns=Path("/proc/1/ns/net"))
PROFILE = seccomp.section(seccomp.read(), "x86_64")
MARK = "evil"  # in every word that a caller may choose freely: it may turn up as data of the job, nowhere else
_BINARIES = {"ip", "nft", "nsenter", "unshare", "sysctl", "tc", "mount", "umount"}
_OWN = ("/var/lib/edge-launcher/", "/run/edge-launcher/")
_SOURCES = re.compile(
    r"(/usr|/usr/bin/catatonit|/etc/(ld\.so\.cache|alternatives)|proc|tmpfs|devpts|mqueue|/(var/lib|run)/edge-launcher/.*)"
)
_HOSTS_LINE = re.compile(r"[0-9.:]+( [a-z0-9._-]+)+")
_CLIMBS = re.compile(r"/\.\.?(/|$)")
_SCRIPT = re.compile(r"[\w\s{}()\[\],;:.\"'/!=<>@*#&|^$+-]*", re.ASCII)


@dataclass
class Planned:
    """In place of Runs: the same checks, then the plan, and its judge."""

    plans: list[Plan] = field(default_factory=list)

    def start(self, request: JobRequest) -> RunState:
        policy.check(RULES, request)
        link = Link(request.run, request.tenant, request.job, 3, 77, request.network) if request.network else None
        root = None
        if request.image != "host":
            config = ImageConfig(command=("/bin/app",), env={}, cwd="/", uid=0, gid=0)
            root = oci.Root(Path("/run/edge-launcher/mounts/root"), config)
        steps = (*plan.create(request, 3, HOST, PROFILE, link=link, root=root), *plan.start(request.run, HOST))
        judge(request, steps)
        plan.as_text(steps)
        plan.as_json(steps)
        self.plans.append(steps)
        return RunState(request.run, request.tenant, "running", 1, None, False, 1, 0)

    hold = start

    def states(self) -> list[RunState]:
        return []

    def state(self, run: str) -> RunState:
        raise LauncherError("not-found", f"no run {run}", "run")

    def watch(self, run: str) -> tuple[RunState, int | None]:
        raise LauncherError("not-found", f"no run {run}", "run")

    def signal(self, run: str, name: str) -> None:
        assert re.fullmatch(r"[a-z0-9.-]+", run) and name in ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL")

    def check(self, run: str) -> Checked:
        return Checked(True, run)

    def reach(self, run: str, wanted: Reach) -> None:
        policy.check_reach(RULES, wanted)

    def usage(self, run: str) -> Usage:
        return Usage(0, 0, 0, 0, 0)

    def open_log(self, run: str) -> int:
        raise LauncherError("not-found", f"no run {run}", "run")

    def remove(self, run: str) -> None:
        assert re.fullmatch(r"[a-z0-9.-]+", run)


class Shelf:
    """In place of Stock."""

    def image(self, image: str) -> Any:
        policy.check_image(RULES, image)
        raise LauncherError("not-found", "no image")

    def images(self) -> list[Any]:
        return []

    def remove_image(self, image: str) -> None:
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", image)

    def disks(self) -> list[Any]:
        return []

    def remove_disk(self, tenant: str, job: str) -> None:
        assert re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+", f"{tenant}/{job}")


def answer(packet: bytes) -> tuple[dict[str, Any], Planned]:
    """What the launcher says to `packet`, which is JSON again; raises AssertionError when a plan is out of bounds.

    The server turns any exception of its own making into "failed inside": that counts as a crash here.
    """
    runs = Planned()
    server = Server(runs, Shelf(), HOST.facts, RULES.agent_uid)  # type: ignore[arg-type]  # stand-ins for Runs, Stock
    said, _ = server._answer(packet)
    json.dumps(said)
    assert "failed inside" not in str(said), said
    return said, runs


def judge(request: JobRequest, steps: Plan) -> None:
    """Raises AssertionError."""
    for step in steps:
        if isinstance(step, WriteFile) and step.path.name == "config.json":
            _judge_config(request, json.loads(step.text))
        elif isinstance(step, WriteFile) and not step.text:  # where a network namespace is pinned, and a mark of ours
            assert str(step.path) in (f"/run/edge-launcher/netns/{request.run}", "/run/edge-launcher/forwarding"), step
        elif isinstance(step, WriteFile):
            assert step.path.parent == Path("/run/edge-launcher/hosts"), step
            assert all(_HOSTS_LINE.fullmatch(line) for line in step.text.splitlines()), step
        else:
            _judge_step(step)


def _judge_step(step: Operation) -> None:
    match step:
        case Run(argv, stdin):
            assert Path(argv[0]).name in _BINARIES, argv
            assert MARK not in " ".join(argv) and MARK not in stdin, step
            assert _SCRIPT.fullmatch(stdin), step
        case StartMonitor(argv=argv) | StartJob(argv):
            assert MARK not in " ".join(argv), step
        case MakeDirectory(path) | Unmount(path) | Mount(path=path) | WriteSecrets(directory=path):
            assert f"{path}/".startswith(_OWN) and ".." not in path.parts, step
        case MakeCgroup(path) | SetCgroup(path):
            assert path.is_relative_to("/cg/jobs") and ".." not in path.parts, step
        case MakeDisk() | MountFile() | LimitDevice():
            assert not _CLIMBS.search(str(step)) and MARK not in str(step), step
        case MakeLink():
            raise AssertionError(step)
        case _:
            raise AssertionError(f"a step that nobody judges: {step}")


def _judge_config(request: JobRequest, config: dict[str, Any]) -> None:
    process, linux = config["process"], config["linux"]
    assert config["root"]["readonly"] and process["noNewPrivileges"] and process["oomScoreAdj"] > 0
    assert not any(process["capabilities"].values())
    assert linux["seccomp"] == PROFILE and linux["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {each["type"] for each in linux["namespaces"]} == {
        "user", "pid", "ipc", "uts", "mount", "cgroup", "network",
    }  # fmt: skip
    for each in linux["namespaces"]:
        assert each["type"] == "network" or "path" not in each
        assert f"{each.get('path', _OWN[1])}/".startswith(_OWN), each
    for mapping in (*linux["uidMappings"], *linux["gidMappings"]):
        assert mapping["size"] == UID_COUNT and UID_BASE <= mapping["hostID"] < UID_BASE + SLOTS * UID_COUNT
    assert 0 <= process["user"]["uid"] < UID_COUNT and 0 <= process["user"]["gid"] < UID_COUNT
    assert linux["resources"]["memory"]["limit"] == request.memory_bytes <= RULES.max_memory_bytes
    assert linux["resources"]["memory"]["swap"] == request.memory_bytes
    assert linux["resources"]["cpu"]["quota"] * 1000 <= RULES.max_cpu_milli * linux["resources"]["cpu"]["period"]
    assert linux["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    for mount in config["mounts"]:
        assert _SOURCES.fullmatch(mount["source"]) and not _CLIMBS.search(mount["source"]), mount
        assert "rw" not in mount["options"] or mount["destination"] == "/work", mount
        assert "nosuid" in mount["options"], mount
        assert not {"dev", "suid", "shared", "rshared"} & set(mount["options"]), mount
    assert "/proc/kcore" in linux["maskedPaths"] and "/proc/sys" in linux["readonlyPaths"]
    assert "hooks" not in config and not linux.get("devices")
    secrets = [content for content in request.secrets.values() if len(content) > 8]
    text = json.dumps({key: value for key, value in config.items() if key != "process"})
    assert not any(content in text for content in secrets)
