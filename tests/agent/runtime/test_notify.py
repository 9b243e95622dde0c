"""agent/runtime/notify.py."""

import logging
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.runtime.notify import KeptSockets, Notifier


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_each_message_is_what_systemd_expects(systemd: socket.socket) -> None:
    notifier = Notifier.from_environ({"NOTIFY_SOCKET": systemd.getsockname()})
    notifier.ready("running")
    notifier.reloading(17)
    notifier.alive()
    notifier.status("two\nlines")
    notifier.stopping("bye")
    assert [systemd.recv(4096) for _ in range(5)] == [
        b"READY=1\nSTATUS=running",
        b"RELOADING=1\nMONOTONIC_USEC=17",
        b"WATCHDOG=1",
        b"STATUS=two lines",
        b"STOPPING=1\nSTATUS=bye",
    ]


def test_an_at_sign_means_the_abstract_namespace() -> None:
    name = f"edge-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        sock.settimeout(5)
        Notifier(f"@{name}").alive()
        assert sock.recv(64) == b"WATCHDOG=1"


def test_nobody_is_told_where_nobody_asked() -> None:
    Notifier.from_environ({}).ready("running")


def test_a_deaf_systemd_is_logged_and_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Notifier(str(tmp_path / "nobody")).ready("running")
    assert "systemd can't be notified" in caplog.text


# --- sockets over a restart ------------------------------------------------------------------------


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as one:
        yield one


def test_a_socket_is_handed_to_systemd_and_taken_away_again(systemd: socket.socket, connection: socket.socket) -> None:
    kept = KeptSockets(Notifier(systemd.getsockname()))
    assert kept.store("mqtt", connection)
    message, (fd,), _, _ = socket.recv_fds(systemd, 4096, 4)
    assert message == b"FDSTORE=1\nFDNAME=mqtt\nFDPOLL=0"
    assert os.path.sameopenfile(fd, connection.fileno())
    os.close(fd)
    kept.remove("mqtt")
    assert systemd.recv(4096) == b"FDSTOREREMOVE=1\nFDNAME=mqtt"
    assert not KeptSockets().store("mqtt", connection)


AS_SYSTEMD = """
import os, socket
from agent.runtime.notify import KeptSockets, Notifier
kept = KeptSockets.from_environ(Notifier.from_environ(os.environ), os.environ, {pid})
found = kept.take("mqtt").get("mqtt.2")
print([name for name in os.environ if name.startswith("LISTEN")])
print(found and (found.getpeername()[1], os.get_inheritable(found.fileno()), found.gettimeout()))
print([fd for fd in range(3, 6) if os.path.exists(f"/proc/self/fd/{{fd}}")])
"""


@pytest.mark.parametrize("ours", [True, False])
def test_what_was_left_is_taken_by_the_process_that_it_is_for_and_the_rest_is_closed(
    systemd: socket.socket, connection: socket.socket, tmp_path: Path, ours: bool
) -> None:
    with (tmp_path / "no-socket").open("w") as file, connection.dup() as other:
        spare = [os.dup(fd) for fd in (other.fileno(), connection.fileno(), file.fileno())]
        env = {**os.environ, "LISTEN_FDS": "3", "LISTEN_FDNAMES": "mqtt-2:mqtt.2:file", "LISTEN_PID": "7"}
        env["NOTIFY_SOCKET"] = str(systemd.getsockname())
        moves = " ".join(f"{number}<&{fd}" for number, fd in enumerate(spare, 3))
        closes = " ".join(f"{fd}<&-" for fd in spare if fd > 5)
        script = AS_SYSTEMD.format(pid=7 if ours else 8)
        said = subprocess.run(
            ["bash", "-c", f'exec {moves} {closes}; exec "$@"', "bash", sys.executable, "-c", script],
            env=env, pass_fds=spare, capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
        for fd in spare:
            os.close(fd)
    names, found, left = said
    assert names == "[]"
    if ours:
        assert found == str((connection.getpeername()[1], False, 0.0))
        assert left == "[4]"
        assert systemd.recv(4096) == b"FDSTOREREMOVE=1\nFDNAME=mqtt-2"
    else:
        assert found == "None"
