import json
from pathlib import Path

from agent.launcher import oci, storage, unpacker
from agent.launcher.manifest import Layer
from agent.launcher.operation import MakeCgroup, StartJob, StartMonitor, WriteFile
from tests.fakes.launcher import host

HOST = host("v2")
BENCH = unpacker.bench(HOST.places, Path("/state/images/x.partial/layout"))
CONFIG = unpacker.config(BENCH, HOST, {"defaultAction": "SCMP_ACT_ERRNO"})


def test_the_unpacker_has_ids_of_its_own_and_no_power_beyond_its_files() -> None:
    mapping = [{"containerID": 0, "hostID": storage.STORED_BASE, "size": 65536}]
    assert CONFIG["linux"]["uidMappings"] == CONFIG["linux"]["gidMappings"] == mapping
    assert CONFIG["process"]["noNewPrivileges"] is True
    allowed = {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_SETFCAP"}
    assert {name for names in CONFIG["process"]["capabilities"].values() for name in names} == allowed
    kinds = {namespace["type"] for namespace in CONFIG["linux"]["namespaces"]}
    assert kinds == {"user", "pid", "ipc", "uts", "mount", "cgroup", "network"}
    assert all(set(namespace) == {"type"} for namespace in CONFIG["linux"]["namespaces"])  # none is the host's
    assert CONFIG["linux"]["seccomp"] == {"defaultAction": "SCMP_ACT_ERRNO"}


def test_it_is_bounded_in_memory_processes_and_speed() -> None:
    resources = CONFIG["linux"]["resources"]
    assert resources["memory"]["limit"] == resources["memory"]["swap"] == 256 << 20
    assert resources["pids"]["limit"] == 64
    assert resources["cpu"]["quota"] == resources["cpu"]["period"]
    assert CONFIG["process"]["oomScoreAdj"] == oci.OOM_SCORE_ADJ


def test_it_writes_to_the_new_file_system_alone() -> None:
    writable = [mount for mount in CONFIG["mounts"] if mount["type"] == "none" and "ro" not in mount["options"]]
    assert [(mount["source"], mount["destination"]) for mount in writable] == [(str(BENCH.root), "/work")]
    assert CONFIG["root"]["readonly"] is True


def test_conmon_and_the_overseer_are_in_one_cgroup_before_umoci_starts() -> None:
    steps = unpacker.steps(BENCH, HOST, {})
    kinds = [type(step) for step in steps]
    assert kinds.index(WriteFile) < kinds.index(StartMonitor) < kinds.index(StartJob)
    monitor = next(step for step in steps if isinstance(step, StartMonitor))
    groups = [step for step in unpacker.cgroups(HOST.tree) if isinstance(step, MakeCgroup)]
    assert set(monitor.cgroups) <= {group.path for group in groups}
    assert "run-_unpack" in str(monitor.cgroups[0])
    assert unpacker.cgroups(host("v1").tree)


def test_umoci_reads_our_words_about_the_layers_and_no_others() -> None:
    layers = (Layer("sha256:" + "a" * 64, 5, gzip=True), Layer("sha256:" + "b" * 64, 6, gzip=False))
    files = unpacker.layout_files(layers, ("sha256:" + "c" * 64, "sha256:" + "d" * 64))
    index = json.loads(files["index.json"])
    (entry,) = index["manifests"]
    manifest = json.loads(files[f"blobs/sha256/{entry['digest'].removeprefix('sha256:')}"])
    assert [row["digest"] for row in manifest["layers"]] == [layer.digest for layer in layers]
    assert [row["mediaType"][-8:] for row in manifest["layers"]] == ["tar+gzip", "r.v1.tar"]
    config = json.loads(files[f"blobs/sha256/{manifest['config']['digest'].removeprefix('sha256:')}"])
    assert config["rootfs"]["diff_ids"] == ["sha256:" + "c" * 64, "sha256:" + "d" * 64]
    assert set(config) == {"architecture", "os", "rootfs"}
