from dataclasses import replace
from typing import Any

import pytest

from agent.launcher.layout import CgroupKind
from agent.launcher.oci import config
from tests.fakes.launcher import REQUEST, host


def built(kind: CgroupKind = "v2", slot: int = 3) -> dict[str, Any]:
    return config(REQUEST, slot, host(kind), {"defaultAction": "SCMP_ACT_ERRNO"})


def test_a_job_has_no_capability_and_gains_no_privilege() -> None:
    process = built()["process"]
    assert set(process["capabilities"]) == {"bounding", "effective", "inheritable", "permitted", "ambient"}
    assert not any(process["capabilities"].values())
    assert process["noNewPrivileges"] is True
    assert process["user"]["uid"] == process["user"]["gid"] == 1000
    assert process["oomScoreAdj"] > 0
    assert {limit["type"]: limit["hard"] for limit in process["rlimits"]} == {
        "RLIMIT_NOFILE": 1024, "RLIMIT_CORE": 0, "RLIMIT_SIGPENDING": 64, "RLIMIT_MSGQUEUE": 4096,
    }  # fmt: skip


def test_every_namespace_is_new_and_the_ids_are_the_slots() -> None:
    linux = built()["linux"]
    assert {n["type"] for n in linux["namespaces"]} == {"user", "pid", "ipc", "uts", "mount", "cgroup", "network"}
    assert not any("path" in namespace for namespace in linux["namespaces"])
    expected = [{"containerID": 0, "hostID": 1879048192 + 3 * 65536, "size": 65536}]
    assert linux["uidMappings"] == linux["gidMappings"] == expected


def test_nothing_of_the_host_is_writable_and_etc_is_never_bound() -> None:
    whole = built()
    assert whole["root"] == {"path": "/var/lib/edge-launcher/host-rootfs", "readonly": True}
    bound = {mount["destination"]: mount for mount in whole["mounts"] if "rbind" in mount["options"]}
    assert set(bound) == {"/usr", "/etc/ld.so.cache"}
    assert all({"ro", "nosuid", "nodev"} <= set(mount["options"]) for mount in bound.values())
    assert {"/usr/local", "/proc/kcore", "/proc/keys", "/proc/kallsyms", "/proc/timer_list"} <= set(
        whole["linux"]["maskedPaths"]
    )
    assert "/proc/sys" in whole["linux"]["readonlyPaths"]
    assert not any(mount["destination"].startswith("/sys") for mount in whole["mounts"])


def test_what_a_job_can_write_is_bounded_memory() -> None:
    sizes = {
        mount["destination"]: option
        for mount in built()["mounts"] if mount["type"] == "tmpfs"
        for option in mount["options"] if option.startswith("size=")
    }  # fmt: skip
    assert sizes == {"/dev": "size=64k", "/dev/shm": "size=1048576", "/tmp": "size=1048576", "/work": "size=1048576"}


@pytest.mark.parametrize("kind", ["v2", "v1-hybrid", "v1"])
def test_limits_are_the_requests_and_swap_is_none(kind: CgroupKind) -> None:
    resources = built(kind)["linux"]["resources"]
    assert resources["memory"] == {"limit": 64 << 20, "swap": 64 << 20}
    assert resources["pids"] == {"limit": 32}
    assert resources["cpu"] == {"quota": 50_000, "period": 100_000, "shares": 512}
    assert resources["devices"] == [{"allow": False, "access": "rwm"}]
    assert ("unified" in resources) == (kind == "v2")


def test_the_callers_words_stay_words() -> None:
    process = config(replace(REQUEST, command=("; rm -rf /", "--", "$(x)")), 0, host(), {})["process"]
    assert process["args"] == ["/usr/bin/catatonit", "--", "; rm -rf /", "--", "$(x)"]
    assert "PATH=/work" in process["env"]
    assert "GREETING=hello" in process["env"]
    assert "HOME=/work" in process["env"]
