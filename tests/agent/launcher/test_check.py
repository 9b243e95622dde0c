import os
import socket
import threading
from pathlib import Path

import pytest

from agent.launcher import check, monitor, oci
from agent.launcher.protocol import Checked, CheckRequest, LauncherError
from agent.launcher.record import Record
from tests.fakes.launcher import REQUEST, host

ME = Record("a", "acme", 0, "boot-1", "running", job=monitor.process(os.getpid()))


def test_a_check_is_the_job_with_another_command() -> None:
    whole = oci.config(REQUEST, 0, host(), {})
    spec = check.process(whole, ("/bin/well",))
    assert spec["args"] == ["/bin/well"]
    assert {key: value for key, value in spec.items() if key != "args"} == {
        key: value for key, value in whole["process"].items() if key != "args"
    }


def test_a_state_without_a_network_is_otherwise_the_same() -> None:
    spaces = [{"type": "NEWUSER", "path": ""}, {"type": "NEWNET", "path": "/run/x"}]
    state = {"id": "a", "config": {"namespaces": spaces, "x": 1}, "namespace_paths": {"NEWUSER": "/u", "NEWNET": "/n"}}
    told = check.without_network(state)
    assert told == {
        "id": "a", "config": {"namespaces": spaces[:1], "x": 1}, "namespace_paths": {"NEWUSER": "/u"}
    }  # fmt: skip


def test_what_a_check_says_is_cut_and_a_hanging_one_is_ended() -> None:
    code, said = check._bounded(("/bin/sh", "-c", "yes | head -c 1000000; exit 3"), 10)
    assert (code, len(said)) == (3, 255)
    assert check._bounded(("/bin/sleep", "60"), 0.05) == (None, "")
    assert check._bounded(("/bin/sh", "-c", "exec >&- 2>&-; sleep 0.1; exit 4"), 10) == (4, "")


def test_nobody_is_ended_who_is_not_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(str(os.getpid()))
    check._end(tmp_path / "pid", ME, host())  # we live on
    check._end(tmp_path / "none", ME, host())


def test_a_port_is_answered_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_enter_network", lambda pid: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        request = CheckRequest(tcp_port=server.getsockname()[1], timeout_seconds=1)
        assert check.perform(request, ME, host()) == Checked(True, "")
    checked = check.perform(request, ME, host())
    assert (checked.healthy, checked.message) == (False, f"port {request.tcp_port}: Connection refused")


def test_slow_checks_leave_the_launcher_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_places", threading.BoundedSemaphore(1))
    check._places.acquire()
    with pytest.raises(LauncherError, match="are under way") as refused:
        check.perform(CheckRequest(tcp_port=1), ME, host())
    assert refused.value.code == "no-room"
