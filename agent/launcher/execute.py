"""Does what a plan says, one operation after the other. No decisions here."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from agent.launcher import cgroup, monitor
from agent.launcher.monitor import Process
from agent.launcher.plan import (
    MakeCgroup,
    MakeDirectory,
    MakeLink,
    Operation,
    Plan,
    SetCgroup,
    StartJob,
    StartMonitor,
    WriteFile,
)
from agent.launcher.protocol import LauncherError


def perform(plan: Plan, created: Callable[[Process, Process], None] | None = None) -> None:
    """`created(monitor, job)` is called when the sandbox stands and before its job starts.

    Raises LauncherError(host) and OSError; what was done so far stays, for the caller to clean up.
    """
    for operation in plan:
        if isinstance(operation, StartMonitor):
            pair = monitor.create(operation.argv, operation.cgroups, operation.pid_file)
            if created:
                created(*pair)
        else:
            _perform(operation)


def _perform(operation: Operation) -> None:
    match operation:
        case MakeDirectory(path, mode):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)
        case WriteFile(path, text, mode):
            _write(path, text, mode)
        case MakeLink(path, target):
            with contextlib.suppress(FileExistsError):
                path.symlink_to(target)
        case MakeCgroup(path, controllers):
            path.mkdir(parents=True, exist_ok=True)
            if controllers:
                cgroup.enable(path, controllers)
        case SetCgroup(path, text):
            path.write_text(text)
        case StartJob(argv):
            code, said = monitor.command(argv)
            if code != 0:
                raise LauncherError("host", f"the runtime could not start the job: {said}")
        case StartMonitor():
            raise TypeError("perform takes this one")


def _write(path: Path, text: str, mode: int) -> None:
    """By rename, so that a run which has the old file mounted keeps it whole."""
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        os.fchmod(fd, mode)
        file.write(text)
    temporary.replace(path)
