"""A machine that isn't there: what the launcher's pure parts are told in tests."""

from dataclasses import replace
from pathlib import Path

from agent.launcher.layout import CgroupKind, Host, Places, Tree
from agent.launcher.protocol import (
    CheckRequest,
    Destination,
    HostFacts,
    JobRequest,
    NetworkRequest,
    PublishedPort,
    Reach,
)

REQUEST = JobRequest(
    run="a.1",
    tenant="acme",
    job="a",
    image="host",
    command=("/bin/sh", "-c", "exit 7"),
    cpu_milli=500,
    memory_bytes=64 << 20,
    pids=32,
    log_bytes=65536,
    tmp_bytes=1 << 20,
    env={"PATH": "/work", "GREETING": "hello"},
)
FULL = replace(
    REQUEST,
    open_files=256,
    disk_bytes=8 << 20,
    io_bytes_per_second=1 << 20,
    network=NetworkRequest(
        reach=Reach((Destination("192.0.2.0/24", 443, "tcp"),), {"pos.example.com": ("192.0.2.7",)}),
        publish=(PublishedPort(20080, 8080, "tcp"),),
        peers=True,
    ),
    check=CheckRequest(tcp_port=8080, timeout_seconds=2),
    secrets={"TOKEN": "aHVudGVyMg=="},  # hunter2
)
FACTS = HostFacts(
    runtime="crun",
    runtime_version="1.8.1",
    cgroup="v2",
    memory_controller=True,
    cpus=4,
    memory_bytes=8 << 30,
    boot_id="boot-1",
)


def tree(kind: CgroupKind = "v2") -> Tree:
    if kind == "v2":
        return Tree("v2", "/jobs", (("", Path("/cg")),), top="/jobs")
    names = ("cpu", "cpuacct", "memory", "pids", "devices")
    unified = (("unified", Path("/cg/unified")),) if kind == "v1-hybrid" else ()
    return Tree(kind, "/jobs", (*((name, Path("/cg") / name) for name in names), *unified))


def host(
    kind: CgroupKind = "v2", places: Places | None = None, cgroups: Tree | None = None, boot_id: str = "boot-1"
) -> Host:
    return Host(
        facts=replace(FACTS, boot_id=boot_id),
        machine="x86_64",
        runtime=Path("/usr/bin/crun"),
        conmon=Path("/usr/bin/conmon"),
        init=Path("/usr/bin/catatonit"),
        tree=cgroups or tree(kind),
        places=places or Places(Path("/var/lib/edge-launcher"), Path("/run/edge-launcher")),
        etc=(Path("/etc/ld.so.cache"),),
        mqtt_dir=Path("/run/edge-broker/jobs"),
    )
