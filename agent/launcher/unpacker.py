"""The sandbox in which umoci unpacks an image: what it is made of, as a plan. Pure.

It is like a job's: a user namespace of its own, no network, no new privileges, the jobs' seccomp list, bounds on memory
and processes. It sees /usr, the verified blobs (read-only) and the empty file system that it fills.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.launcher import layout, oci, plan, storage
from agent.launcher.manifest import Layer
from agent.launcher.operation import MakeCgroup, MakeDirectory, Plan, StartJob, StartMonitor, WriteFile
from agent.launcher.protocol import MIB

NAME = storage.UNPACKER
_UMOCI = "/usr/bin/umoci"
_TAG = "image"
_MEMORY_BYTES = 256 * MIB  # umoci streams: seen to take 30 MiB; the rest is page cache, which can be given back
_LOG_BYTES = 64 * 1024
# Inside its own ids: to give files the owners, modes and capabilities that layers name. A device node takes more.
_CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_SETFCAP")


@dataclass(frozen=True, slots=True)
class Bench:
    """Where one unpacking happens; `directory` is on a tmpfs, so that its end is told on a full disk too."""

    directory: Path
    layout: Path  # the verified blobs, as an OCI layout
    root: Path  # the empty file system

    @property
    def monitor_pid(self) -> Path:
        return self.directory / "monitor.pid"

    @property
    def exit(self) -> Path:
        return self.directory / "exit"

    @property
    def log(self) -> Path:
        return self.directory / "log"


def bench(places: layout.Places, layout_dir: Path) -> Bench:
    return Bench(places.run_dir / "unpack", layout_dir, storage.work(places, NAME))


def cgroups(tree: layout.Tree) -> Plan:
    """Those of a run's monitor; the process that oversees the unpacking is in them as well."""
    monitor = tuple(MakeCgroup(path) for path in plan.monitor_cgroups(NAME, tree))
    if tree.kind == "v2":
        return (MakeCgroup(tree.at("", tree.run(NAME)), enable=("cpu", "memory", "pids")), *monitor)
    return monitor


def steps(place: Bench, host: layout.Host, seccomp: Mapping[str, Any]) -> Plan:
    """From an empty, mounted file system to a running umoci."""
    argv = (
        str(host.conmon),
        *("--api-version", "1", "--cid", NAME, "--name", NAME, "--cuuid", NAME, "--full-attach"),
        *("--runtime", str(host.runtime), "--runtime-arg", f"--root={host.places.runtime}"),
        *("--bundle", str(place.directory), "--persist-dir", str(place.directory)),
        *("--container-pidfile", str(place.directory / "job.pid"), "--conmon-pidfile", str(place.monitor_pid)),
        *("--log-level", "error", "--log-path", f"k8s-file:{place.log}", "--log-size-max", str(_LOG_BYTES)),
    )
    return (
        MakeDirectory(place.directory, 0o711),
        WriteFile(place.directory / "config.json", json.dumps(config(place, host, seccomp), indent=1), 0o600),
        StartMonitor(argv, plan.monitor_cgroups(NAME, host.tree), place.monitor_pid, oci.OOM_SCORE_ADJ),
        StartJob(plan.runtime_argv(host, "start", NAME)),
    )


def config(place: Bench, host: layout.Host, seccomp: Mapping[str, Any]) -> dict[str, Any]:
    """config.json: ids 0..65535 inside are the stored ones (storage.STORED_BASE) outside."""
    mapping = [{"containerID": 0, "hostID": storage.STORED_BASE, "size": layout.UID_COUNT}]
    capabilities = {kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")}
    return {
        "ociVersion": "1.0.2",
        "hostname": "unpack",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0, "umask": 0o022},
            "args": [_UMOCI, "--log=error", "raw", "unpack", "--image", f"/var:{_TAG}", "/work"],
            "env": ["PATH=/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8"],
            "cwd": "/",
            "capabilities": capabilities | {"inheritable": [], "ambient": []},
            "rlimits": [
                {"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024},
                {"type": "RLIMIT_CORE", "hard": 1, "soft": 1},
            ],
            "noNewPrivileges": True,
            "oomScoreAdj": oci.OOM_SCORE_ADJ,
        },
        "root": {"path": str(host.places.rootfs), "readonly": True},
        "mounts": _mounts(place),
        "linux": {
            "namespaces": [{"type": kind} for kind in ("user", "pid", "ipc", "uts", "mount", "cgroup", "network")],
            "uidMappings": mapping,
            "gidMappings": mapping,
            "cgroupsPath": host.tree.job(NAME),
            "resources": {
                "devices": [{"allow": False, "access": "rwm"}],
                "memory": {"limit": _MEMORY_BYTES, "swap": _MEMORY_BYTES},
                "pids": {"limit": 64},
                "cpu": {"quota": oci.CPU_PERIOD_MICRO, "period": oci.CPU_PERIOD_MICRO, "shares": 256},
            },
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/usr/local"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "rootfsPropagation": "private",
            "seccomp": dict(seccomp),
        },
    }


def _mounts(place: Bench) -> list[dict[str, Any]]:
    memory = ["nosuid", "noexec", "nodev"]
    return [
        _bound("/usr", "/usr", "ro", "nosuid", "nodev"),
        {"destination": "/proc", "type": "proc", "source": "proc", "options": memory},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": [*memory, "mode=755", "size=64k"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": [*memory, "size=1m"]},  # noqa: S108
        _bound(str(place.layout), "/var", "ro", *memory),
        _bound(str(place.root), "/work", "rw", *memory),
    ]


def _bound(source: str, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "none", "source": source, "options": ["bind", *options]}


def layout_files(layers: tuple[Layer, ...], diff_ids: tuple[str, ...]) -> dict[str, bytes]:
    """The JSON of an OCI layout around verified layers, by path in it: umoci reads our words, never the stranger's."""
    config = _json({"architecture": "any", "os": "linux", "rootfs": {"type": "layers", "diff_ids": list(diff_ids)}})
    rows = [_descriptor("layer.v1.tar" + ("+gzip" if row.gzip else ""), row.digest, row.size) for row in layers]
    named = _descriptor("config.v1+json", _digest(config), len(config))
    manifest = _json({"schemaVersion": 2, "config": named, "layers": rows})
    entry = _descriptor("manifest.v1+json", _digest(manifest), len(manifest))
    entry["annotations"] = {"org.opencontainers.image.ref.name": _TAG}
    return {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "manifests": [entry]}),
        f"blobs/sha256/{_digest(config).removeprefix('sha256:')}": config,
        f"blobs/sha256/{_digest(manifest).removeprefix('sha256:')}": manifest,
    }


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": size}
