"""Processes: conmon, which holds one run for its whole life, the runtime's short commands, and who is still alive."""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.launcher.protocol import LauncherError

_CREATE_SECONDS = 60.0
_COMMAND_SECONDS = 30.0
_GATE_SECONDS = 2.0
_READER = "/usr/bin/head"
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
# Python ignores these; a job must meet them as every program expects.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)
_FIRST_FREE_FD = 16


@dataclass(frozen=True, slots=True)
class Process:
    """A pid is reused; with its start time (proc(5) stat field 22, in clock ticks since boot) it is one process."""

    pid: int = 0
    start_ticks: int = 0

    def alive(self) -> bool:
        return self.start_ticks > 0 and start_ticks(self.pid) == self.start_ticks  # 0: dead when first seen


NOBODY = Process()


def start_ticks(pid: int) -> int:
    """0 when there is no such process, or only its zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = text[text.rindex(")") + 2 :].split()  # the name may hold anything, even ")"
    return 0 if fields[0] in "ZX" else int(fields[19])


def process(pid: int) -> Process:
    return Process(pid, start_ticks(pid))


def open_pidfd(wanted: Process) -> int | None:
    """A descriptor that is readable when the process ends; None when it already has."""
    try:
        fd = os.pidfd_open(wanted.pid)
    except ProcessLookupError:
        return None
    if wanted.alive():
        return fd
    os.close(fd)
    return None


def send(wanted: Process, number: signal.Signals) -> None:
    """A signal to that very process, or to nobody."""
    fd = open_pidfd(wanted)
    if fd is None:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, number)
    finally:
        os.close(fd)


def is_in(wanted: Process, group: str) -> bool:
    """Whether it lives in the cgroup `group`, or below, of any hierarchy."""
    try:
        text = Path(f"/proc/{wanted.pid}/cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    paths = (line.split(":", 2)[2] for line in text.splitlines())
    return any(path == group or path.startswith(f"{group}/") for path in paths) and wanted.alive()


def executes(wanted: Process, program: Path) -> bool:
    """Whether that is the file which it was last made to execute, by the last part of its name."""
    try:
        return Path(f"/proc/{wanted.pid}/exe").readlink().name == program.name and wanted.alive()
    except OSError:
        return False


def same_file(*paths: Path | str) -> bool:
    """All are there, and one and the same; also for namespaces, by whatever name they are held."""
    try:
        found = [os.stat(path) for path in paths]  # noqa: PTH116 a Path of each would say no more
    except OSError:
        return False
    return len({(one.st_dev, one.st_ino) for one in found}) == 1


def pin_oom_score(wanted: Process, score: int) -> None:
    """Make `score` the least that `wanted` and its children can give themselves.

    The runtime sets the score inside the user namespace, where the kernel leaves the least (oom_score_adj_min) as
    inherited: ours, -900 under systemd. Only a write by root of the host moves it (fs/proc/base.c, __set_oom_adj).
    """
    path = Path(f"/proc/{wanted.pid}/oom_score_adj")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), path.open("w") as file:
        if wanted.alive():  # the open file is of one process, whatever becomes of its number
            file.write(str(score))


def command(argv: tuple[str, ...], stdin: str = "", seconds: float = _COMMAND_SECONDS) -> tuple[int, str]:
    """Run a short command: its exit code (-9 when it had to be killed after `seconds`) and what it said."""
    said = os.memfd_create("said")
    try:
        with _told(stdin) as told:
            pid = spawn(argv, said, told)
        code = _reap(pid, seconds)
        return code, os.pread(said, 4096, 0).decode(errors="replace").strip()
    finally:
        os.close(said)


@contextlib.contextmanager
def _told(text: str) -> Generator[int]:
    """A descriptor to read `text` from; -1 for none."""
    if not text:
        yield -1
        return
    fd = os.memfd_create("told")
    try:
        with os.fdopen(os.dup(fd), "w") as file:
            file.write(text)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def spawn(argv: tuple[str, ...], out: int, stdin: int = -1) -> int:
    """The pid of our child, which the caller reaps; it reads `stdin`, or nothing, and writes to `out` alone."""
    first = (os.POSIX_SPAWN_DUP2, stdin, 0) if stdin >= 0 else (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0)
    actions: list[Any] = [first, (os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)]
    return os.posix_spawn(argv[0], argv, _ENVIRONMENT, file_actions=actions, setsigdef=_DEFAULT_SIGNALS)


def _reap(pid: int, seconds: float) -> int:
    """Exit code of our child, -9 when it had to be killed."""
    fd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(seconds * 1000):
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def create(argv: tuple[str, ...], cgroups: tuple[Path, ...], pid_file: Path) -> tuple[Process, Process]:
    """Start conmon inside `cgroups` and let it create the sandbox: (monitor, the job's init, which waits for `start`).

    conmon waits on _OCI_STARTPIPE before it forks or makes anything, so nothing of the run is ever outside its cgroup.
    At the end of a pipe it would go on as well: were we killed here, it would make a sandbox that nobody knows of.
    So it is a socket on which a byte for us lies unread: then our death is ECONNRESET (unix_release), and it gives up.
    It answers on _OCI_SYNCPIPE with {"data": pid} or {"data": -1, "message": ...}. Raises LauncherError(host).
    """
    sync_read, sync_write = _pipe()
    start_theirs, start_ours = _sockets()
    try:
        actions = [
            *((os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)),
            (os.POSIX_SPAWN_DUP2, sync_write, 3),
            (os.POSIX_SPAWN_DUP2, start_theirs, 4),
        ]
        environment = _ENVIRONMENT | {"_OCI_SYNCPIPE": "3", "_OCI_STARTPIPE": "4"}
        pid = os.posix_spawn(argv[0], argv, environment, file_actions=actions, setsigdef=_DEFAULT_SIGNALS)
        os.close(sync_write)
        sync_write = -1
        try:
            for group in cgroups:
                (group / "cgroup.procs").write_text(str(pid))
            os.write(start_ours, b"x")
            os.read(start_ours, 1)  # from here on it lives without us
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        os.waitpid(pid, 0)  # it leaves its daemonised self behind, and pid_file
        job_pid = _answer(sync_read)
        return process(int(pid_file.read_text())), process(job_pid)
    finally:
        for fd in (sync_read, sync_write, start_theirs, start_ours):
            if fd >= 0:
                os.close(fd)


def open_gate(fifo: Path) -> bool:
    """As `runc start` (libcontainer, container_linux.go, exec): read what the created init writes before its program.

    By a process of its own, which a kill of ours doesn't end: an init whose reader has gone before it wrote exits
    with code 1, and that would be taken for the job's. False when it can't be done so: nothing was started then, or
    the runtime itself will say what is wrong.
    """
    if not fifo.is_fifo():
        return False
    try:
        code, said = command((_READER, "-c", "1", str(fifo)), seconds=_GATE_SECONDS)
    except OSError:
        return False
    if code != 0 or not said:
        return False
    fifo.unlink(missing_ok=True)  # runc knows by it whether the job was started; until then `executes` does
    return True


def _pipe() -> tuple[int, int]:
    return _raised(*os.pipe())


def _sockets() -> tuple[int, int]:
    """(theirs, ours): a pair, with a byte from theirs that waits at ours."""
    theirs, ours = socket.socketpair()
    theirs.send(b"x")
    return _raised(theirs.detach(), ours.detach())


def _raised(*ends: int) -> tuple[int, int]:
    """Above the numbers that the child gets, so that placing one never overwrites the other."""
    try:
        return (
            fcntl.fcntl(ends[0], fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD),
            fcntl.fcntl(ends[1], fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD),
        )
    finally:
        os.close(ends[0])
        os.close(ends[1])


def _answer(fd: int) -> int:
    """Conmon's one line: the pid of the created init."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + _CREATE_SECONDS
    text = b""
    while not text.endswith(b"\n"):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise LauncherError("host", f"the monitor said nothing for {_CREATE_SECONDS:.0f} s")
        part = os.read(fd, 65536)
        if not part:
            break
        text += part
    try:
        answer = json.loads(text)
        pid = int(answer["data"])
    except (ValueError, KeyError, TypeError) as error:
        raise LauncherError("host", f"the monitor ended without a word: {text.decode(errors='replace')}") from error
    if pid <= 0:
        raise LauncherError("host", f"the runtime refused: {str(answer.get('message', '')).strip()}")
    return pid
