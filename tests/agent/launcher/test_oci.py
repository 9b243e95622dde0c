from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.launcher.layout import CgroupKind
from agent.launcher.oci import Root, config
from agent.launcher.protocol import JobRequest, LauncherError
from agent.launcher.storage import ImageConfig
from tests.fakes.launcher import FULL, REQUEST, host


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
        "RLIMIT_NOFILE": 1024, "RLIMIT_CORE": 1, "RLIMIT_SIGPENDING": 64, "RLIMIT_MSGQUEUE": 4096,
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


def test_what_tells_of_the_host_and_the_neighbours_is_masked() -> None:
    names = {"interrupts", "kallsyms", "config.gz", "cmdline", "diskstats", "modules", "pressure", "kpagecount"}
    assert {f"/proc/{name}" for name in names} <= set(built()["linux"]["maskedPaths"])


def test_what_a_job_can_write_is_bounded_memory() -> None:
    sizes = {
        mount["destination"]: option
        for mount in built()["mounts"] if mount["type"] == "tmpfs"
        for option in mount["options"] if option.startswith("size=")
    }  # fmt: skip
    assert sizes == {"/dev": "size=64k", "/dev/shm": "size=1048576", "/tmp": "size=1048576", "/work": "size=1048576"}


def test_what_all_jobs_share_of_the_kernel_has_a_share_for_each() -> None:
    mounts = {mount["destination"]: mount["options"] for mount in built()["mounts"]}
    assert "max=64" in mounts["/dev/pts"]
    assert all("nr_inodes=1024" in mounts[place] for place in ("/tmp", "/work", "/dev/shm"))


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


def test_open_files_are_the_requests() -> None:
    limits = config(replace(REQUEST, open_files=77), 0, host(), {})["process"]["rlimits"]
    assert {"type": "RLIMIT_NOFILE", "hard": 77, "soft": 77} in limits


def mounts(request: JobRequest, root: Root | None = None) -> dict[str, dict[str, Any]]:
    return {mount["destination"]: mount for mount in config(request, 3, host(), {}, root)["mounts"]}


def test_a_network_is_the_one_that_was_made_for_the_run() -> None:
    namespaces = config(FULL, 3, host(), {})["linux"]["namespaces"]
    assert namespaces[-1] == {"type": "network", "path": "/run/edge-launcher/netns/a.1"}
    assert mounts(FULL)["/etc/hosts"]["source"] == "/run/edge-launcher/hosts/a.1"
    assert "ro" in mounts(FULL)["/etc/hosts"]["options"]
    assert "/etc/hosts" not in mounts(REQUEST)


def test_secrets_are_bound_read_only() -> None:
    bound = mounts(FULL)["/run/secrets"]
    assert bound["source"] == "/run/edge-launcher/secrets/a.1"
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(bound["options"])
    assert "/run" not in mounts(REQUEST)


def test_the_broker_is_a_directory_bound_read_only_for_those_who_may_and_nothing_for_others() -> None:
    asks = replace(REQUEST, mqtt=True)
    bound = mounts(asks)["/run/mqtt"]
    assert bound["source"] == "/run/edge-launcher/mqtt/a.1"
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(bound["options"])
    assert list(mounts(asks)).index("/run") < list(mounts(asks)).index("/run/mqtt")
    assert "EDGE_MQTT_SOCKET=/run/mqtt/broker.sock" in config(asks, 3, host(), {})["process"]["env"]
    assert "/run/mqtt" not in mounts(FULL)
    assert "EDGE_MQTT_SOCKET" not in str(config(FULL, 3, host(), {})["process"]["env"])


def test_a_disk_takes_the_place_of_memory() -> None:
    work = mounts(FULL)["/work"]
    assert (work["type"], work["source"]) == ("none", "/run/edge-launcher/mounts/a.1/work")
    assert "ro" not in work["options"]


def test_an_image_brings_its_own_world_and_none_of_the_hosts() -> None:
    image = ImageConfig(("/app", "-v"), {"PATH": "/app/bin", "GREETING": "hi"}, "/srv", 33, 34)
    request = replace(REQUEST, image="sha256:" + "a" * 64, command=(), env={"GREETING": "hello"})
    whole = config(request, 3, host(), {}, Root(Path("/r"), image))
    process = whole["process"]
    assert whole["root"] == {"path": "/r", "readonly": True}
    assert process["args"] == ["/run/init", "--", "/app", "-v"]
    assert process["user"] == {"uid": 33, "gid": 34, "umask": 0o022}
    assert process["cwd"] == "/srv"
    assert {"PATH=/app/bin", "GREETING=hello"} <= set(process["env"])
    assert not any(process["capabilities"].values())
    assert process["noNewPrivileges"] is True
    bound = {mount["destination"]: mount["source"] for mount in whole["mounts"] if "rbind" in mount["options"]}
    assert bound == {"/run/init": "/usr/bin/catatonit"}
    assert "/usr/local" not in whole["linux"]["maskedPaths"]


def test_the_request_says_more_than_the_image_and_somebody_has_to() -> None:
    image = ImageConfig(("/app",), {}, "", 0, 0)
    whole = config(replace(REQUEST, image="sha256:x"), 3, host(), {}, Root(Path("/r"), image))
    assert whole["process"]["args"][2:] == ["/bin/sh", "-c", "exit 7"]
    assert whole["process"]["cwd"] == "/"
    with pytest.raises(LauncherError, match="the image has none of its own"):
        config(replace(REQUEST, command=()), 3, host(), {}, Root(Path("/r"), replace(image, command=())))


def test_a_profile_is_named_only_where_there_is_one() -> None:
    assert "apparmorProfile" not in built()["process"]
    process = config(REQUEST, 3, replace(host(), apparmor="edge-job"), {})["process"]
    assert process["apparmorProfile"] == "edge-job"
