"""Does what a plan says, one operation after the other. No decisions here."""

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from agent.launcher import cgroup, disk, monitor, mounts
from agent.launcher.monitor import Process
from agent.launcher.operation import (
    MakeCgroup,
    MakeDirectory,
    MakeLink,
    Mount,
    Operation,
    Plan,
    Run,
    SetCgroup,
    StartJob,
    StartMonitor,
    Unmount,
    WriteFile,
    WriteSecrets,
)
from agent.launcher.protocol import LauncherError
from agent.launcher.storage import LimitDevice, MakeDisk, MountFile


def perform(plan: Plan, created: Callable[[Process, Process], None] | None = None) -> None:
    """`created(monitor, job)` is called when the sandbox stands and before its job starts.

    Raises LauncherError(host) and OSError; what was done so far stays, for the caller to clean up.
    """
    for operation in plan:
        if isinstance(operation, StartMonitor):
            pair = monitor.create(operation.argv, operation.cgroups, operation.pid_file)
            monitor.pin_oom_score(pair[1], operation.oom_score_adj)
            if created:
                created(*pair)
        else:
            _perform(operation)


def _perform(operation: Operation) -> None:
    match operation:
        case MakeDirectory() | WriteFile() | MakeLink() | WriteSecrets():
            _place(operation)
        case MakeCgroup() | SetCgroup():
            _group(operation)
        case Mount(source, path, kind, flags, data):
            mounts.mount(source, path, kind, flags, data)
        case Unmount(path):
            mounts.unmount(path)
        case Run(argv, stdin, why, may_fail):
            _run(argv, stdin, why or argv[0], may_fail=may_fail)
        case MakeDisk() | MountFile() | LimitDevice():
            disk.perform(operation)
        case StartJob(argv, gate):
            if gate is None or not monitor.open_gate(gate):
                _run(argv, "", "the runtime could not start the job", may_fail=False)
        case StartMonitor():
            raise TypeError("perform takes this one")


def _group(operation: MakeCgroup | SetCgroup) -> None:
    match operation:
        case MakeCgroup(path, controllers):
            path.mkdir(parents=True, exist_ok=True)
            if controllers:
                cgroup.enable(path, controllers)
        case SetCgroup(path, text):
            path.write_text(text)


def _place(operation: MakeDirectory | WriteFile | MakeLink | WriteSecrets) -> None:
    match operation:
        case MakeDirectory(path, mode):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)
        case WriteFile(path, text, mode, in_place):
            _write_in_place(path, text, mode) if in_place else _write(path, text, mode)
        case MakeLink(path, target):
            with contextlib.suppress(FileExistsError):
                path.symlink_to(target)
        case WriteSecrets(directory, uid, names, contents):
            for name, content in zip(names, contents, strict=True):
                _write_secret(directory / name, uid, content)


def _run(argv: tuple[str, ...], stdin: str, why: str, *, may_fail: bool) -> None:
    code, said = monitor.command(argv, stdin)
    if code != 0 and not may_fail:
        raise LauncherError("host", f"{why}: {said or f'exit code {code}'}")


def _write(path: Path, text: str, mode: int) -> None:
    """By rename, so that a run which has the old file mounted keeps it whole.

    Nothing when it is there already: a launcher must start on a full disk too.
    """
    if _is_there(path, text, mode):
        return
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        os.fchmod(fd, mode)
        file.write(text)
    temporary.replace(path)


def _is_there(path: Path, text: str, mode: int) -> bool:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return False
    return kind == stat.S_IFREG | mode and path.read_text() == text


def _write_in_place(path: Path, text: str, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        os.fchmod(fd, mode)
        file.write(text)  # over the old text first: a reader never meets an empty file
        file.truncate()


def _write_secret(path: Path, uid: int, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
    with os.fdopen(fd, "wb") as file:
        os.fchown(fd, uid, uid)
        file.write(content)
