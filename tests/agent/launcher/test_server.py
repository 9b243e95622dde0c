import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.launcher import server
from agent.launcher.protocol import MAX_PACKET, LauncherError, RunState
from agent.launcher.server import Server
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

    def open_log(self, run: str) -> int:
        return os.memfd_create("log")


@pytest.fixture(params=[True])
def wire(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    uid = os.getuid() if request.param else os.getuid() + 1
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    served = Server(Answers(), FACTS, uid)  # type: ignore[arg-type]  # the part of Runs that is asked for
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
        (b'{"op": "start", "run": "a"}', "bad-request", "memory_bytes"),
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


def test_a_log_is_handed_over_as_a_descriptor_and_not_kept(wire: socket.socket) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    wire.send(b'{"op": "logs", "run": "a"}')
    data, fds, _, _ = socket.recv_fds(wire, 1000, 2)
    assert json.loads(data) == {"ok": {}}
    assert len(fds) == 1
    os.close(fds[0])
    assert "ok" in ask(wire, b'{"op": "hello"}')  # the launcher closes its own after it has sent it
    assert len(list(Path("/proc/self/fd").iterdir())) == before


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
