import contextlib
import errno
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.launcher import server
from agent.launcher.protocol import (
    MAX_PACKET,
    Checked,
    DiskState,
    ImageState,
    JobRequest,
    LauncherError,
    Reach,
    RunState,
)
from agent.launcher.server import Server
from agent.sandbox import Sandbox
from tests.fakes.launcher import FACTS

STATE = RunState("a", "acme", "running", 5, None, False, 1, 0)


class Answers:
    """Stands where Runs stands; says what a test wants to see on the wire."""

    def state(self, run: str) -> RunState:
        if run == "full":
            raise OSError(28, "No space left on device", "/x")
        if run == "bug":
            raise ZeroDivisionError
        if run == "none":
            raise LauncherError("not-found", "no run none", "run")
        return STATE

    def start(self, request: JobRequest) -> RunState:
        return STATE

    def states(self) -> list[RunState]:
        return [replace(STATE, run=f"r{number:03}") for number in range(512)]

    def check(self, run: str) -> Checked:
        return Checked(False, "sick")

    def reach(self, run: str, reach: Reach) -> None:
        if not reach.cut:
            raise LauncherError("conflict", "not cut")

    def open_log(self, run: str) -> int:
        return os.memfd_create("log")


class Stocked:
    """Stands where Stock stands."""

    def image(self, image: str) -> ImageState:
        return ImageState(image, "unpacking", done_bytes=1, total_bytes=2)

    def disks(self) -> list[DiskState]:
        return [DiskState("acme", f"j{number:04}", 5) for number in range(2000)]

    def images(self) -> list[ImageState]:
        return [ImageState(f"sha256:{number:064x}", "failed", "\U0001f4a9" * 500) for number in range(100)]

    def remove_disk(self, tenant: str, job: str) -> None:
        raise LauncherError("not-found", f"no disk of {tenant}/{job}", "job")


@pytest.fixture(params=[True])
def wire(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    uid = os.getuid() if request.param else os.getuid() + 1
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    served = Server(Answers(), Stocked(), FACTS, uid)  # type: ignore[arg-type]  # the part of Runs that is asked for
    thread = threading.Thread(target=served._converse, args=(theirs, lambda: None))
    thread.start()
    with ours:
        yield ours
    thread.join(10)
    assert not thread.is_alive()


def ask(wire: socket.socket, packet: bytes) -> dict[str, Any]:
    wire.settimeout(10)
    wire.send(packet)
    answer: dict[str, Any] = json.loads(wire.recv(MAX_PACKET))
    return answer


def test_requests_are_answered_in_order_on_one_connection(wire: socket.socket) -> None:
    assert ask(wire, b'{"op": "hello"}')["ok"]["boot_id"] == "boot-1"
    assert ask(wire, b'{"op": "state", "run": "a"}')["ok"]["pid"] == 5


@pytest.mark.parametrize("wire", [False], indirect=True)
def test_another_user_hears_one_refusal_and_is_cut_off(wire: socket.socket) -> None:
    assert ask(wire, b'{"op": "hello"}')["error"]["code"] == "not-allowed"
    assert wire.recv(10) == b""


@pytest.mark.parametrize(
    ("packet", "code", "field"),
    [
        (b"[]", "bad-request", ""),
        (b"\xff", "bad-request", ""),
        (b"[" * 50_000, "bad-request", ""),
        (b'"' + b"x" * MAX_PACKET, "bad-request", ""),
        (b'{"op": "exec", "run": "a"}', "bad-request", "op"),
        (b'{"op": ["state"], "run": "a"}', "bad-request", "op"),
        (b'{"op": "state", "run": "../etc"}', "bad-request", "run"),
        (b'{"op": "start", "run": "a"}', "bad-request", "tenant"),
        (b'{"op": "image", "image": "host"}', "bad-request", "image"),
        (b'{"op": "remove-disk", "tenant": "acme", "job": "../x"}', "bad-request", "job"),
        (b'{"op": "remove-disk", "tenant": "acme", "job": "x"}', "not-found", "job"),
        (b'{"op": "reach", "run": "a"}', "bad-request", "reach"),
        (b'{"op": "reach", "run": "a", "reach": {}}', "conflict", ""),
        (b'{"op": "state", "run": "none"}', "not-found", "run"),
        (b'{"op": "state", "run": "full"}', "host", "disk"),
        (b'{"op": "state", "run": "bug"}', "host", ""),
    ],
)
def test_what_cannot_be_done_is_said_and_the_next_request_is_heard(
    wire: socket.socket, packet: bytes, code: str, field: str
) -> None:
    error = ask(wire, packet)["error"]
    assert (error["code"], error["field"]) == (code, field)
    assert "ok" in ask(wire, b'{"op": "hello"}')


async def test_however_much_there_is_it_comes_in_packets_that_fit(tmp_path: Path) -> None:
    """The worst of names and messages, as the agent asks for it."""
    served = Server(Answers(), Stocked(), FACTS, os.getuid())  # type: ignore[arg-type]  # as above
    wake, woken = socket.socketpair()
    with server.open_socket(tmp_path / "s", os.getuid()) as listener, wake, woken:
        accepting = threading.Thread(target=served._accept, args=(listener, wake))
        accepting.start()
        asking = Sandbox(tmp_path / "s")
        assert [state.run for state in await asking.list_runs()] == [f"r{number:03}" for number in range(512)]
        assert len(set(await asking.disks())) == 2000
        assert len(set(await asking.images())) == 100
        woken.send(b"x")
        accepting.join(10)


def test_what_runs_and_what_is_kept_is_asked_for_by_one_word_each(wire: socket.socket) -> None:
    assert ask(wire, b'{"op": "check", "run": "a"}') == {"ok": {"healthy": False, "message": "sick"}}
    assert ask(wire, b'{"op": "reach", "run": "a", "reach": {"cut": true}}') == {"ok": {}}
    assert ask(wire, b'{"op": "disks", "after": "acme/j1998"}') == {
        "ok": {"disks": [{"tenant": "acme", "job": "j1999", "disk_bytes": 5}], "more": False}
    }
    image = json.dumps({"op": "image", "image": "sha256:" + "a" * 64}).encode()
    assert ask(wire, image)["ok"]["state"] == "unpacking"


def test_a_log_is_handed_over_as_a_descriptor_and_not_kept(wire: socket.socket) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    wire.send(b'{"op": "logs", "run": "a"}')
    data, fds, _, _ = socket.recv_fds(wire, 1000, 2)
    assert json.loads(data) == {"ok": {}}
    assert len(fds) == 1
    os.close(fds[0])
    assert "ok" in ask(wire, b'{"op": "hello"}')  # the launcher closes its own after it has sent it
    assert len(list(Path("/proc/self/fd").iterdir())) == before


class _Short:
    """A listener in a process that has no descriptor left, once."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self._full = True

    def fileno(self) -> int:
        return self._real.fileno()

    def accept(self) -> tuple[socket.socket, Any]:
        if self._full:
            self._full = False
            raise OSError(errno.EMFILE, "Too many open files")
        return self._real.accept()


def test_a_moment_without_descriptors_or_threads_ends_no_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Server(Answers(), Stocked(), FACTS, os.getuid())  # type: ignore[arg-type]  # as above
    begun = iter([RuntimeError("can't start new thread")])

    class Scarce(threading.Thread):
        def start(self) -> None:
            for error in begun:
                raise error
            super().start()

    wake, woken = socket.socketpair()
    with server.open_socket(tmp_path / "s", os.getuid()) as listener, wake, woken:
        accepting = threading.Thread(target=served._accept, args=(_Short(listener), wake))
        accepting.start()
        monkeypatch.setattr(threading, "Thread", Scarce)
        answers: list[bytes] = []
        while not any(answers):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
                caller.settimeout(10)
                caller.connect(str(tmp_path / "s"))
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    caller.send(b'{"op": "hello"}')
                    answers.append(caller.recv(MAX_PACKET))
        woken.send(b"x")
        accepting.join(10)
        assert not accepting.is_alive()


def test_our_own_socket_is_for_the_agent_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)
    path = tmp_path / "s"
    path.touch()  # what a killed launcher left
    with server.open_socket(path, os.getuid()) as listener:
        assert listener.type == socket.SOCK_SEQPACKET
        assert path.stat().st_mode & 0o777 == 0o600


def test_ready_is_told_to_whoever_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "n"))
        heard.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        server.notify("READY=1")
        assert heard.recv(100) == b"READY=1"
    server.notify("READY=1")  # nobody listens any more: nothing
