"""Whether memory of jobs can be limited: Raspberry Pi's kernel starts without the controller."""

from agent.cli.checks.finding import Box, Finding
from agent.errors import EdgeError

NAME = "memory controller"

_PARAMETER = "cgroup_enable=memory"
# Where the kernel's command line is kept, the first that is there (Raspberry Pi OS 12, 11; Debian's GRUB).
_FILES = ("boot/firmware/cmdline.txt", "boot/cmdline.txt", "etc/default/grub")


def check(box: Box) -> Finding:
    there = _seen(box) if isinstance(box.launcher, EdgeError) else box.launcher.memory_controller
    if there:
        return Finding("ok", "memory of jobs is limited")
    return Finding("fail", "the kernel has no memory controller: tenants' jobs are refused", _remedy(box))


def _seen(box: Box) -> bool:
    """Without the launcher: as the kernel lists it (cgroups(7)), version 2 or 1."""
    try:
        if "memory" in (box.root / "sys/fs/cgroup/cgroup.controllers").read_text().split():
            return True
    except OSError:
        pass
    try:
        lines = (box.root / "proc/cgroups").read_text().splitlines()
    except OSError:
        return False
    return any(line.split()[0] == "memory" and line.split()[-1] == "1" for line in lines if line)


def _remedy(box: Box) -> str:
    file = next((name for name in _FILES if (box.root / name).exists()), "")
    if file.endswith("grub"):
        return f"add {_PARAMETER} to GRUB_CMDLINE_LINUX in /{file}, run update-grub and reboot"
    where = f"/{file}" if file else "the kernel's command line (/boot/firmware/cmdline.txt, or GRUB)"
    return f"add {_PARAMETER} to {where} (on its one line) and reboot"
