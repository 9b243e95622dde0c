"""What starting a run takes, step by step, before any of it is done. Pure: `--dry-run` prints it without root."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from agent.launcher import cgroup, disk, image, layout, mounts, network, oci
from agent.launcher.firewall import Link
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
from agent.launcher.protocol import JobRequest
from agent.launcher.request import secret_bytes

# conmon copies the job's output; a flooding job must not make it eat a core (measured: 0.6 of one).
MONITOR_CPU_MILLI = 100
MONITOR_IO_BYTES = 1 << 20  # a second, of the disk under the state directory; its log is not there
MONITOR_CONTROLLERS = ("cpu", "cpuacct", "blkio", "memory", "pids", "unified")


def skeleton(places: layout.Places) -> Plan:
    """The launcher's directories and the shared root of the 'host' image; done once, at the launcher's start.

    Every mount point is made here: in its user namespace a run can't create anything in a root that is host root's.
    """
    root = places.rootfs
    closed = (places.runs, places.logs, places.live, places.runtime)
    directories = ("dev", "proc", "sys", "usr", "etc", "etc/alternatives", "run", "var")
    return (
        MakeDirectory(places.state_dir, 0o711),
        MakeDirectory(places.run_dir, 0o711),
        *(MakeDirectory(path, 0o700) for path in closed),
        MakeDirectory(places.secrets, 0o711),  # a runtime in its user namespace passes through
        MakeDirectory(places.mqtt, 0o711),
        MakeDirectory(root, 0o755),
        *(MakeDirectory(root / name, 0o755) for name in directories),
        *(MakeDirectory(root / name, 0o1777) for name in ("tmp", "work")),  # runc keeps the mount point's mode
        *(MakeLink(root / name, f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")),
        WriteFile(root / "etc/ld.so.cache", "", 0o644),
        WriteFile(root / "etc/hostname", "job\n", 0o644),
        WriteFile(root / "etc/hosts", "127.0.0.1 localhost job\n::1 localhost\n", 0o644),
        WriteFile(root / "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n", 0o644),
        WriteFile(
            root / "etc/passwd",
            f"root:x:0:0:root:/:/usr/sbin/nologin\njob:x:{oci.JOB_ID}:{oci.JOB_ID}:job:/work:/bin/sh\n"
            "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
            0o644,
        ),
        WriteFile(root / "etc/group", f"root:x:0:\ntty:x:5:\njob:x:{oci.JOB_ID}:\nnogroup:x:65534:\n", 0o644),
    )


def runtime_argv(host: layout.Host, *words: str) -> tuple[str, ...]:
    return (str(host.runtime), f"--root={host.places.runtime}", *words)


def create(
    request: JobRequest,
    slot: int,
    host: layout.Host,
    seccomp: Mapping[str, Any],
    *,
    link: Link | None = None,
    root: oci.Root | None = None,
) -> Plan:
    """From an accepted request to a sandbox that stands, its job not started; the record of it is on disk already.

    `link` is of request.network, None without one; `root` is of request.image, which is ready, None for "host".
    """
    here = host.places.run(request.run)
    config = json.dumps(oci.config(request, slot, host, seccomp, root), indent=1)
    return (
        MakeDirectory(here.live, 0o700),
        *(network.create(link, host) if link else ()),
        *disk.attach(request, slot, host),
        *(image.attach(request.image, request.run, slot, host) if root else ()),
        *_secrets(request, slot, host, root),
        *_mqtt(request, host),
        WriteFile(here.config, config, 0o600),
        *_cgroups(request.run, host.tree),
        StartMonitor(
            argv=_monitor_argv(request, host),
            cgroups=monitor_cgroups(request.run, host.tree),
            pid_file=here.monitor_pid,
            oom_score_adj=oci.OOM_SCORE_ADJ,
        ),
        *disk.limit(request, host),
        *_count_tcp(request, host.tree),
        *detach(request, host),
    )


def detach(request: JobRequest, host: layout.Host) -> Plan:
    """A sandbox that stands has mounts of its own: the launcher's, which others could meet, go away."""
    return (
        *(disk.detach(request.run, host) if request.disk_bytes else ()),
        *(image.detach(request.run, host) if request.image != "host" else ()),
        *((Unmount(host.places.run(request.run).secrets),) if request.secrets else ()),
        *((Unmount(host.places.run(request.run).mqtt),) if request.mqtt else ()),
    )


def start(run: str, host: layout.Host) -> Plan:
    """A sandbox that stands becomes a running job."""
    # 8 ms less than the process: a third of a held start. runc's alone: in crun it is the other way round.
    gate = host.places.runtime / run / "exec.fifo" if host.runtime.name == "runc" else None
    return (StartJob(runtime_argv(host, "start", run), gate), *limit_monitor(run, host))


def _secrets(request: JobRequest, slot: int, host: layout.Host, root: oci.Root | None) -> Plan:
    """A file system in memory of their own, which the job's user alone can look into."""
    if not request.secrets:
        return ()
    uid, gid = (layout.uid_base(slot) + number for number in oci.user(root.image if root else None))
    path = host.places.run(request.run).secrets
    data = f"size=512k,nr_inodes=64,mode=0500,uid={uid},gid={gid}" + ",noswap" * host.noswap
    return (
        MakeDirectory(path, 0o700),
        Mount("tmpfs", path, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC, data),
        WriteSecrets(path, uid, tuple(request.secrets), tuple(map(secret_bytes, request.secrets.values()))),
    )


def _mqtt(request: JobRequest, host: layout.Host) -> Plan:
    """The directory, not the socket in it: a broker that starts anew makes a new one, which the run sees too."""
    if not request.mqtt or host.mqtt_dir is None:
        return ()
    path = host.places.run(request.run).mqtt
    return (MakeDirectory(path, 0o700), Mount(str(host.mqtt_dir), path, "none", mounts.MS_BIND))


def _count_tcp(request: JobRequest, tree: layout.Tree) -> Plan:
    """On v1 the queues of a run's own TCP connections are nobody's memory until they have a limit of their own."""
    memory = dict(tree.mounts).get("memory")
    if tree.kind == "v2" or memory is None:
        return ()
    job = memory / tree.job(request.run).lstrip("/")
    return (SetCgroup(job / "memory.kmem.tcp.limit_in_bytes", str(request.memory_bytes)),)


def monitor_cgroups(run: str, tree: layout.Tree) -> tuple[Path, ...]:
    if tree.kind == "v2":
        return tree.everywhere(tree.monitor(run))
    return tuple(mount / tree.monitor(run).lstrip("/") for name, mount in tree.mounts if name in MONITOR_CONTROLLERS)


def limit_monitor(run: str, host: layout.Host) -> Plan:
    """Only after the start: until then conmon's cgroup also pays for the runtime, which needs its speed."""
    quota, tree, device = MONITOR_CPU_MILLI * oci.CPU_PERIOD_MICRO // 1000, host.tree, host.state_device
    monitor = tree.at("cpu", tree.monitor(run))
    if tree.kind == "v2":
        io = (SetCgroup(monitor / "io.max", f"{device} rbps={MONITOR_IO_BYTES} wbps={MONITOR_IO_BYTES}"),)
        return (SetCgroup(monitor / "cpu.max", f"{quota} {oci.CPU_PERIOD_MICRO}"), *(io if device else ()))
    blkio = dict(tree.mounts).get("blkio") if device else None
    return (
        SetCgroup(monitor / "cpu.cfs_period_us", str(oci.CPU_PERIOD_MICRO)),
        SetCgroup(monitor / "cpu.cfs_quota_us", str(quota)),
        *(
            SetCgroup(
                tree.at("blkio", tree.monitor(run)) / f"blkio.throttle.{way}_bps_device", f"{device} {MONITOR_IO_BYTES}"
            )
            for way in (("read", "write") if blkio else ())
        ),
    )


def _cgroups(run: str, tree: layout.Tree) -> Plan:
    if tree.kind == "v2":
        parent = tree.at("", tree.run(run))
        return (MakeCgroup(parent, enable=cgroup.CONTROLLERS), MakeCgroup(parent / "monitor"))
    return tuple(MakeCgroup(path) for path in monitor_cgroups(run, tree))


def _monitor_argv(request: JobRequest, host: layout.Host) -> tuple[str, ...]:
    here = host.places.run(request.run)
    return (
        str(host.conmon),
        *("--api-version", "1", "--cid", request.run, "--name", request.run),
        *("--cuuid", request.run, "--full-attach"),  # its socket stays in the bundle, and its path may be long
        *("--runtime", str(host.runtime), "--runtime-arg", f"--root={host.places.runtime}"),
        *("--bundle", str(here.directory), "--persist-dir", str(here.live)),
        *("--container-pidfile", str(here.job_pid), "--conmon-pidfile", str(here.monitor_pid)),
        *("--log-level", "error"),
        *("--log-path", f"k8s-file:{here.log}", "--log-size-max", str(request.log_bytes)),
    )


def as_text(plan: Plan) -> str:
    """A line for each step, and in full the config.json and what commands are told."""
    lines: list[str] = []
    for number, operation in enumerate(plan, 1):
        lines.append(f"{number:3} {operation.describe()}")
        if isinstance(operation, WriteFile) and operation.path.name == "config.json":
            lines += [f"      {line}" for line in operation.text.splitlines()]
        elif isinstance(operation, Run):
            lines += [f"      {line}" for line in operation.stdin.splitlines()]
    return "\n".join(lines) + "\n"


def as_json(plan: Plan) -> str:
    steps = [{"operation": type(operation).__name__, **asdict(_shown(operation))} for operation in plan]
    return json.dumps(steps, indent=1, default=str) + "\n"


def _shown(operation: Operation) -> Operation:
    return replace(operation, contents=()) if isinstance(operation, WriteSecrets) else operation
