"""agent/cli/checks/memory.py."""

from pathlib import Path

import pytest

from agent.cli.checks import memory
from agent.cli.checks.finding import Box
from agent.clock import Clock
from agent.config.schema import Config
from agent.errors import AwayError
from agent.sandbox import HostFacts

PI = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t0\t60\t1\nmemory\t0\t60\t0\n"


def box(root: Path, controller: bool | None = None) -> Box:
    facts = HostFacts("crun", "1", "v2", bool(controller), 4, 1 << 30, "boot")
    return Box(Config(), Clock("b", lambda: 0, lambda: 0), AwayError("away") if controller is None else facts, root)


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_a_raspberry_pi_is_told_which_parameter_to_add_where(tmp_path: Path) -> None:
    write(tmp_path, "proc/cgroups", PI)
    write(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
    write(tmp_path, "boot/firmware/cmdline.txt", "console=tty1")
    found = memory.check(box(tmp_path))
    assert found.level == "fail"
    assert found.remedy == "add cgroup_enable=memory to /boot/firmware/cmdline.txt (on its one line) and reboot"


@pytest.mark.parametrize(
    ("file", "remedy"),
    [
        ("boot/cmdline.txt", "/boot/cmdline.txt (on its one line)"),
        ("etc/default/grub", "GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub"),
        ("", "the kernel's command line"),
    ],
)
def test_other_boards_have_it_elsewhere(tmp_path: Path, file: str, remedy: str) -> None:
    if file:
        write(tmp_path, file, "")
    found = memory.check(box(tmp_path, controller=False))
    assert (found.level, "cgroup_enable=memory" in found.remedy, remedy in found.remedy) == ("fail", True, True)


def test_with_the_controller_it_is_ok_whoever_says_so(tmp_path: Path) -> None:
    assert memory.check(box(tmp_path, controller=True)).level == "ok"
    write(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n")
    assert memory.check(box(tmp_path)).level == "ok"
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").unlink()
    write(tmp_path, "proc/cgroups", PI.replace("60\t0", "60\t1"))
    assert memory.check(box(tmp_path)).level == "ok"
