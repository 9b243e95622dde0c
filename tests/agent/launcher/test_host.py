import os
from pathlib import Path

import pytest

from agent.launcher.host import apparmor_profile, choose_runtime, disk_of, kernel_is
from agent.launcher.protocol import LauncherError

HERE = {"crun": Path("/usr/bin/crun"), "runc": Path("/usr/bin/runc")}


def test_crun_is_taken_unless_it_would_refuse_to_start() -> None:
    assert choose_runtime("auto", crun_refuses=False, find=HERE.get) == Path("/usr/bin/crun")
    assert choose_runtime("auto", crun_refuses=True, find=HERE.get) == Path("/usr/bin/runc")
    assert choose_runtime("auto", crun_refuses=False, find={"runc": HERE["runc"]}.get) == Path("/usr/bin/runc")


def test_roots_own_choice_is_taken_if_it_can_run() -> None:
    assert choose_runtime("/bin/sh", crun_refuses=True, find=HERE.get) == Path("/bin/sh")
    for wanted in ("/no/such/runtime", "crun"):
        with pytest.raises(LauncherError, match="is not installed"):
            choose_runtime(wanted, crun_refuses=False, find={}.get)


@pytest.mark.parametrize(("refuses", "install"), [(True, "install runc"), (False, "install crun")])
def test_without_a_runtime_the_remedy_is_named(refuses: bool, install: str) -> None:
    with pytest.raises(LauncherError, match=install):
        choose_runtime("auto", crun_refuses=refuses, find={"crun": HERE["crun"]}.get if refuses else {}.get)


@pytest.mark.parametrize(
    ("release", "there"),
    [("6.4.0-1-amd64", True), ("6.18.44", True), ("7.0", True), ("6.3.9", False), ("5.10.0-rpi", False), ("x", False)],
)
def test_a_kernel_is_new_enough_by_its_numbers(release: str, there: bool) -> None:
    assert kernel_is(release, 6, 4) == there


def test_the_disk_of_a_directory_is_the_whole_one(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    assert disk_of(tmp_path, tmp_path / "none") == ""
    (tmp_path / "devices/sda/sda1").mkdir(parents=True)
    (tmp_path / "devices/sda/dev").write_text("8:0\n")
    (tmp_path / "devices/sda/sda1/dev").write_text(f"{number}\n")
    (tmp_path / "dev/block").mkdir(parents=True)
    (tmp_path / "dev/block" / number).symlink_to("../../devices/sda/sda1")
    assert disk_of(tmp_path, tmp_path) == number
    (tmp_path / "devices/sda/sda1/partition").write_text("1\n")
    assert disk_of(tmp_path, tmp_path) == "8:0"


def test_a_profile_is_used_where_it_is_loaded_and_apparmor_is_on(tmp_path: Path) -> None:
    enabled = tmp_path / "module/apparmor/parameters/enabled"
    profiles = tmp_path / "kernel/security/apparmor/profiles"
    assert apparmor_profile(tmp_path) == ""
    for path in (enabled, profiles):
        path.parent.mkdir(parents=True)
    enabled.write_text("Y\n")
    profiles.write_text("docker-default (enforce)\nedge-jobs (enforce)\n")
    assert apparmor_profile(tmp_path) == ""
    profiles.write_text("docker-default (enforce)\nedge-job (enforce)\n")
    assert apparmor_profile(tmp_path) == "edge-job"
    enabled.write_text("N\n")
    assert apparmor_profile(tmp_path) == ""
