"""A run's own health check, once: a command of its own inside it, or a connection to a port of its own."""

import json
import os
import select
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

from agent.launcher import execute, monitor, oci, plan
from agent.launcher.layout import Host
from agent.launcher.operation import MakeDirectory, WriteFile
from agent.launcher.protocol import Checked, CheckRequest, LauncherError
from agent.launcher.record import Record

_MESSAGE_BYTES = 256
_CHOOM, _NSENTER = "/usr/bin/choom", "/usr/bin/nsenter"  # util-linux
_AT_ONCE = 12  # fewer than the launcher's connections: tenants' slow checks must not keep the agent out
_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_places = threading.BoundedSemaphore(_AT_ONCE)


def perform(check: CheckRequest, found: Record, host: Host) -> Checked:
    """Takes up to the check's own timeout, and a little. Raises LauncherError(no-room, host) and OSError."""
    if not _places.acquire(blocking=False):
        raise LauncherError("no-room", f"{_AT_ONCE} health checks are under way")
    try:
        if check.command:
            return _command(check, found, host)
        return _connection(check, found)
    finally:
        _places.release()


def process(config: dict[str, Any], command: tuple[str, ...]) -> dict[str, Any]:
    """For `runtime exec`: the job's own user, limits and environment, and no more than it has."""
    found: dict[str, Any] = config["process"]
    return found | {"args": list(command)}


def _command(check: CheckRequest, found: Record, host: Host) -> Checked:
    here = host.places.run(found.run)
    spec = process(json.loads(here.config.read_text()), check.command)
    execute.perform((WriteFile(here.check, json.dumps(spec), 0o600),))
    inside = here.live / f"check-{threading.get_native_id()}.pid"  # one thread does one check
    words = ("exec", "--process", str(here.check), "--pid-file", str(inside), found.run)
    runtime = plan.runtime_argv(host, *words)
    if found.network is not None and host.facts.runtime == "runc":
        runtime = _from_its_network(found, host, *words)
    argv = (_CHOOM, "-n", str(oci.OOM_SCORE_ADJ), "--", *runtime)  # crun leaves it as it is: ours, -900
    try:
        code, said = _bounded(argv, check.timeout_seconds)
        if code is None:
            _end(inside, found, host)
            return Checked(False, f"no answer within {check.timeout_seconds} s")
        return Checked(True, "") if code == 0 else Checked(False, f"exit code {code}: {said}"[: 2 * _MESSAGE_BYTES])
    finally:
        inside.unlink(missing_ok=True)


def _from_its_network(found: Record, host: Host, *words: str) -> tuple[str, ...]:
    """Of runc 1.1 exec enters the run's user namespace first, and then may not enter a network that is the host's.

    So it starts inside that network, and is told of none: by a copy of its state, which it only reads.
    """
    seen = host.places.run(found.run).live / "seen"
    state = without_network(json.loads((host.places.runtime / found.run / "state.json").read_text()))
    execute.perform(
        (
            MakeDirectory(seen, 0o700),
            MakeDirectory(seen / found.run, 0o700),
            WriteFile(seen / found.run / "state.json", json.dumps(state), 0o600),
        )
    )
    return (_NSENTER, f"--net=/proc/{found.job.pid}/ns/net", "--", str(host.runtime), f"--root={seen}", *words)


def without_network(state: dict[str, Any]) -> dict[str, Any]:
    """The state.json (runc's) of a run whose network nobody has to enter any more."""
    spaces = [each for each in state["config"]["namespaces"] if each["type"] != "NEWNET"]
    paths = {kind: path for kind, path in state["namespace_paths"].items() if kind != "NEWNET"}
    return state | {"config": state["config"] | {"namespaces": spaces}, "namespace_paths": paths}


def _bounded(argv: tuple[str, ...], seconds: float) -> tuple[int | None, str]:
    """(exit code, the beginning of what it said); no code when it took longer. What follows is read and dropped."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            pid = monitor.spawn(argv, writer)
        finally:
            os.close(writer)
        ended, said = _listen(pid, reader, time.monotonic() + seconds)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return (code if ended else None), said.decode(errors="replace").strip()
    finally:
        os.close(reader)


def _listen(pid: int, reader: int, deadline: float) -> tuple[bool, bytes]:
    """Whether it ended in time, and the beginning of what it said."""
    said = b""
    fd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(reader, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            ready = dict(poll.poll(left * 1000))
            if ready.get(reader, 0) & select.POLLIN:
                said += os.read(reader, 65536)[: max(0, _MESSAGE_BYTES - len(said))]
            elif fd in ready:
                return True, said
            elif reader in ready:  # nobody can say anything any more
                poll.unregister(reader)
        return False, said
    finally:
        os.close(fd)


def _end(pid_file: Path, found: Record, host: Host) -> None:
    """The check's process lives on when the runtime that waits for it is killed."""
    try:
        one = monitor.process(int(pid_file.read_text()))
    except (FileNotFoundError, ValueError):
        return
    if monitor.is_in(one, host.tree.job(found.run)):
        monitor.send(one, signal.SIGKILL)


def _connection(check: CheckRequest, found: Record) -> Checked:
    """By a thread that goes into the run's network and ends there; a process would take longer than the check."""
    answers: list[Checked] = []

    def connect() -> None:
        try:
            _enter_network(found.job.pid)
            if not found.job.alive():  # else the number was another's: nobody's port was touched
                return
            with socket.create_connection(("127.0.0.1", check.tcp_port), check.timeout_seconds):
                answers.append(Checked(True, ""))
        except OSError as error:
            answers.append(Checked(False, f"port {check.tcp_port}: {error.strerror or 'no answer in time'}"))

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(check.timeout_seconds + 1)
    return answers[0] if answers else Checked(False, "the run ended")


def _enter_network(pid: int) -> None:
    """Raises OSError."""
    import ctypes  # noqa: PLC0415 0.7 MB, only where a run is checked; os.setns comes with Python 3.12

    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(fd)
