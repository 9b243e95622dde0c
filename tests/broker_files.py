"""The store's broker as it is shipped, systemd/mosquitto.conf, on ports and in directories of a test's own."""

import contextlib
import os
import pwd
import re
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHIPPED = Path(__file__).parents[1] / "systemd/mosquitto.conf"
MOSQUITTO = "/usr/sbin/mosquitto"
AS_BROKER = ("setpriv", "--reuid=mosquitto", "--regid=mosquitto", "--clear-groups")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def connects(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


@dataclass(frozen=True)
class Ports:
    """`plain` on loopback; with TLS, `certificates` or `passwords`."""

    plain: int
    certificates: int
    passwords: int


@dataclass(frozen=True)
class Account:
    """What a device with a password logs in with; its client id is its name."""

    username: str
    password: str

    @property
    def words(self) -> tuple[str, ...]:
        """For mosquitto_pub and mosquitto_sub."""
        return ("-u", self.username, "-P", self.password, "-i", self.username)


@dataclass(frozen=True)
class Certificate:
    """What a device with a certificate connects with."""

    device: str
    port: int
    certificate: Path
    key: Path
    ca: Path

    @property
    def words(self) -> tuple[str, ...]:
        """For mosquitto_pub and mosquitto_sub."""
        return ("-p", str(self.port), "--cafile", str(self.ca), "--cert", str(self.certificate), "--key", str(self.key))


def parse_account(device: str, said: str) -> Account:
    """Of what `edge-agent device add --password` printed."""
    found = re.search(r"^password:\s+(\S+)$", said, re.MULTILINE)
    assert found is not None, said
    return Account(device, found[1])


class BrokerFiles:
    """What systemd, tmpfiles.d and the drop-in do around the broker, for one below `directory`."""

    def __init__(self, directory: Path, run_dir: Path, settings: str = "", owner: str = "edge-agent") -> None:
        self.ports = Ports(free_port(), free_port(), free_port())
        self.data = directory / "data"  # /var/lib/mosquitto
        self.state = run_dir / "state/dynamic-security.json"
        self.dir = directory / "files"  # /var/lib/edge-broker
        self.run_dir = run_dir
        self.jobs_dir = run_dir / "jobs"
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        directory.mkdir()
        broker = pwd.getpwnam("mosquitto")
        agent = pwd.getpwnam(owner)
        for path, uid, gid, mode in (
            (self.data, broker.pw_uid, broker.pw_gid, 0o700),
            (self.dir, agent.pw_uid, broker.pw_gid, 0o2750),
            (self.run_dir, 0, broker.pw_gid, 0o750),
            (self.jobs_dir, broker.pw_uid, broker.pw_gid, 0o755),
            (self.state.parent, broker.pw_uid, broker.pw_gid, 0o700),
        ):
            path.mkdir()
            os.chown(path, uid, gid)
            path.chmod(mode)  # after chown, which takes the group bit away
        self.conf = directory / "mosquitto.conf"
        self.conf.write_text(self._substituted(settings))
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # the unit says 65536
        self.argv = ("prlimit", f"--nofile={most}", MOSQUITTO, "-c", str(self.conf))

    @property
    def socket(self) -> Path:
        return self.jobs_dir / "broker.sock"

    def listens(self) -> bool:
        """At its last listener, so at all of them."""
        return connects(self.ports.passwords)

    def install(self, seed: bytes) -> None:
        """As ExecStartPre= does with what `edge-agent broker prepare` printed."""
        script = 'umask 077; cd "$0" && cat >seed && if test -s seed; then mv seed dynamic-security.json; fi'
        subprocess.run([*AS_BROKER, "sh", "-c", script, self.state.parent], input=seed, check=True)

    def open_socket(self) -> None:
        """As ExecStartPost= does."""
        subprocess.run([*AS_BROKER, "chmod", "0666", self.socket], check=True)

    def watch(self, process: "subprocess.Popen[bytes]") -> None:
        """As edge-broker-reload.path does: SIGHUP and SIGUSR1 when the agent left word."""
        self.close()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, args=(process, self._stop), daemon=True)
        self._watcher.start()

    def close(self) -> None:
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None

    def _watch(self, process: "subprocess.Popen[bytes]", stop: threading.Event) -> None:
        word = self.dir / "reload"
        before = _changed(word)
        while not stop.wait(0.05) and process.poll() is None:
            if (now := _changed(word)) != before:
                before = now
                process.send_signal(signal.SIGHUP)
                process.send_signal(signal.SIGUSR1)

    def _substituted(self, settings: str) -> str:
        text = SHIPPED.read_text()
        for shipped, ours in self._places():
            assert shipped in text, shipped
            text = text.replace(shipped, ours)
        return f"persistence true\npersistence_location {self.data}/\n{text}\n{settings}\n"

    def _places(self) -> Iterator[tuple[str, str]]:
        yield "listener 1883 127.0.0.1", f"listener {self.ports.plain} 127.0.0.1"
        yield "listener 8883\n", f"listener {self.ports.certificates} 127.0.0.1\n"
        yield "listener 8884\n", f"listener {self.ports.passwords} 127.0.0.1\n"
        yield "/run/edge-broker/jobs", str(self.jobs_dir)
        yield "/var/lib/edge-broker", str(self.dir)
        yield "/run/edge-broker/state", str(self.state.parent)


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
