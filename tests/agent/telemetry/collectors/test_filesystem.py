"""Space on mounts."""

from pathlib import Path

from agent.telemetry.collectors.filesystem import FilesystemCollector, Mount, Space, read_mounts, read_space
from agent.telemetry.sample import Sample

ROOT = Mount("/", "/dev/mmcblk0p2", "ext4", "rw")
DATA = Mount("/data", "/dev/sda1", "ext4", "ro")


def mounted(samples: list[Sample]) -> dict[str, float]:
    return {s.attributes[0][1]: s.value for s in samples if s.name == "edge.filesystem.mounted"}


def collect(*mounts: Mount, space: Space = Space(100, 60, 30)) -> list[Sample]:  # noqa: B008 a NamedTuple never changes
    wanted = (Path("/data"), Path("/"))
    return list(FilesystemCollector(wanted, lambda: mounts, lambda _: space).collect())


def test_the_states_add_up_to_the_limit() -> None:
    samples = collect(ROOT, DATA)
    usage = [s.value for s in samples if s.name == "system.filesystem.usage"]
    assert usage == [60, 30, 10] * 2
    assert {s.value for s in samples if s.name == "system.filesystem.limit"} == {100}
    assert {s.value for s in samples if s.name == "system.filesystem.utilization"} == {0.6}


def test_a_mount_that_has_gone_is_a_reading_and_the_others_are_still_reported() -> None:
    samples = collect(ROOT)
    assert mounted(samples) == {"/data": 0, "/": 1}
    assert {dict(s.attributes)["system.filesystem.mountpoint"] for s in samples if s.unit == "By"} == {"/"}


def test_a_mount_that_goes_between_table_and_look_is_gone_too() -> None:
    def vanished(path: str) -> Space:
        if path == "/data":
            raise FileNotFoundError(path)
        return Space(1, 1, 0)

    subject = FilesystemCollector((Path("/data"), Path("/")), lambda: [ROOT, DATA], vanished)
    assert mounted(list(subject.collect())) == {"/data": 0, "/": 1}


def test_a_file_system_without_a_size_has_no_utilization() -> None:
    assert not [s for s in collect(ROOT, space=Space(0, 0, 0)) if s.name == "system.filesystem.utilization"]


def test_a_card_gone_read_only_shows_in_the_mode() -> None:
    modes = {dict(s.attributes)["system.filesystem.mode"] for s in collect(DATA) if s.unit == "By"}
    assert modes == {"ro"}


def test_this_host_has_a_root() -> None:
    assert "/" in {mount.path for mount in read_mounts()}
    assert read_space("/").total > 0
