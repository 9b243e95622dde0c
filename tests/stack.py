"""A whole store and its central as real processes, for the demo, the integration tests and the benchmarks.

Each part is started from the console script a user would start, the agent as the unprivileged user edge-agent.
"""

import contextlib
import csv
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.broker_files import Account, BrokerFiles, Certificate, free_port, parse_account
from tests.notified import Notified
from tests.wire import Wire

USER = "edge-agent"
STORE, NODE = "berlin-12", "edge-1"
BIN = Path(sys.executable).parent

# What setpriv(1) takes away before the agent starts: the same as the unit's User= and CapabilityBoundingSet=.
UNPRIVILEGED = (
    "setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--no-new-privs",
    "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all",
)  # fmt: skip

# What the agent's unit sets, so that what is tested and measured is what runs in a store.
UNIT_ENVIRONMENT = tuple(
    line.removeprefix("Environment=")
    for line in (Path(__file__).parents[1] / "systemd/edge-agent.service").read_text().splitlines()
    if line.startswith("Environment=")
)


class StackError(RuntimeError):
    """A part did not start, or said no."""


def ensure_user() -> None:
    """What systemd/sysusers.d does on a real machine."""
    with contextlib.suppress(KeyError):
        pwd.getpwnam(USER)
        return
    subprocess.run(
        ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", USER], check=True
    )


@dataclass
class Part:
    """One process with its log; `wait_for` reads the log for a line."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    notified: Notified | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self, seconds: float = 15.0) -> int:
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise StackError(f"{self.name} did not stop within {seconds:g} s:\n{self.tail()}") from None
        finally:
            if self.notified is not None:
                self.notified.forget()


@dataclass
class Stack:
    """Make it with `running()`, or call the steps one by one and `close()` at the end."""

    listen: bool = False  # the agent's own mutually authenticated port
    parts: dict[str, Part] = field(default_factory=dict)
    notified: dict[str, Notified] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ensure_user()
        # Not the pytest tmp_path: the agent's user must reach it, and unix socket paths are short (107 bytes).
        self.dir = Path(tempfile.mkdtemp(prefix="edge-store-", dir="/var/tmp"))
        self.dir.chmod(0o711)
        self.logs = self.dir / "logs"
        self.logs.mkdir(mode=0o755)
        self.run_dir = Path(tempfile.mkdtemp(prefix="edge-", dir="/run"))
        self.run_dir.chmod(0o711)
        self.cgroup = f"edge-jobs-{self.run_dir.name}"
        self.control_port, self.enrol_port, self.api_port = (free_port() for _ in range(3))
        self.broker = BrokerFiles(self.dir / "broker", self.run_dir / "broker")
        self.mqtt_port = self.broker.ports.plain
        self.wire = Wire(("127.0.0.1", self.control_port))
        uid, gid = pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid
        self.state_dir, self.agent_run = self.dir / "agent", self.run_dir / "agent"
        for directory in (self.state_dir, self.agent_run):
            directory.mkdir(mode=0o750)
            os.chown(directory, uid, gid)
        self.netns = self.run_dir / "net"  # where the jobs' networks end: never this machine's own
        self.netns.touch()
        subprocess.run(["unshare", f"--net={self.netns}", "ip", "link", "set", "lo", "up"], check=True)
        self.config = self.dir / "agent.toml"
        self._write_configs()

    # --- configuration -------------------------------------------------------------------------

    def _write_configs(self) -> None:
        self.config.write_text(f"""
[node]
state_dir = "{self.state_dir}"
run_dir = "{self.agent_run}"
[link]
backoff_base_seconds = 0.2
backoff_max_seconds = 1.0
connect_timeout_seconds = 5.0
[telemetry]
interval_seconds = 1.0
batch_ticks = 5
[mqtt]
port = {self.mqtt_port}
broker_dir = "{self.broker.dir}"
[jobs]
launcher_socket = "{self.run_dir}/launcher/launcher.sock"
usage_interval_seconds = 5.0
[api]
socket = "{self.agent_run}/agent.sock"
listen = "{f"127.0.0.1:{self.api_port}" if self.listen else ""}"
""")
        (self.dir / "launcher.toml").write_text(f"""
agent_user = "{USER}"
images = ["host", "oci"]
image_dir = "{self.state_dir}/images"
mqtt_dir = "{self.broker.jobs_dir}"
""")

    # --- parts ---------------------------------------------------------------------------------

    def start(self, name: str, argv: Sequence[str | Path], *, notify: bool = False, ready: str = "") -> Part:
        """Start a part and wait until it says that it is ready: by sd_notify, or by a line in its log."""
        log = self.logs / f"{name}.log"
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        env.pop("PYTHONPATH", None)
        words = [str(word) for word in argv]
        fds: tuple[int, ...] = ()
        notified = self._notified(name) if notify else None
        if notified is not None:
            env["NOTIFY_SOCKET"] = str(notified.path)
            words, fds = notified.start(words)
        with log.open("ab") as out:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd="/", start_new_session=True,
                pass_fds=fds,
            )  # fmt: skip
            part = self.parts[name] = Part(name, process, log, notified)
            size = log.stat().st_size
            if notified is not None:
                self._await_notify(part, notified)
            elif ready:
                until(
                    lambda: ready in log.read_text(errors="replace")[size:] or not part.alive(), what=f"{name}: {ready}"
                )
        if not part.alive():
            raise StackError(f"{name} ended with {process.returncode}:\n{part.tail()}")
        return part

    def _notified(self, name: str) -> Notified:
        if name not in self.notified:
            self.notified[name] = Notified(self.run_dir / f"{name}.notify")
        return self.notified[name]

    def _await_notify(self, part: Part, notified: Notified, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and part.alive():
            if notified.is_ready(0.2):
                return
        raise StackError(f"{part.name} was not ready within {seconds:g} s:\n{part.tail()}")

    def start_central(self) -> Part:
        central = self.dir / "central"
        if not central.exists():
            self.edgectl("init")
        return self.start(
            "central",
            [
                BIN / "edge-central", "--dir", central, "--listen", f"127.0.0.1:{self.control_port}",
                "--enrol-listen", f"127.0.0.1:{self.enrol_port}", "--advertise", f"127.0.0.1:{self.wire.port}",
            ],
            ready="central: ready",
        )  # fmt: skip

    def start_broker(self) -> Part:
        """What the drop-in of mosquitto.service does; its .path unit is a thread."""
        # When it can't, the broker goes on with what it had.
        with contextlib.suppress(StackError):
            self.broker.install(self.agent_cli("broker", "prepare").encode())
        part = self.start("mosquitto", self.broker.argv)
        until(lambda: self.broker.listens() or not part.alive(), what="mosquitto to listen")
        if not part.alive():
            raise StackError(f"mosquitto ended with {part.process.returncode}:\n{part.tail()}")
        self.broker.open_socket()
        self.broker.watch(part.process)
        return part

    def start_launcher(self) -> Part:
        return self.start("launcher", self._launcher_argv(), notify=True)

    def _launcher_argv(self) -> list[str | Path]:
        return [
            BIN / "edge-launcher", "--state-dir", self.dir / "launcher", "--run-dir", self.run_dir / "launcher",
            "--policy", self.dir / "launcher.toml", "--cgroup", self.cgroup, "--netns", self.netns,
        ]  # fmt: skip

    def start_agent(self) -> Part:
        argv = [*UNPRIVILEGED, "env", *UNIT_ENVIRONMENT, BIN / "edge-agent", "--config", self.config, "run"]
        return self.start("agent", argv, notify=True)

    def enrol(self) -> None:
        token = (
            self.edgectl("token", "create", "--store", STORE, "--node", NODE, "--ttl", "1h").strip().splitlines()[-1]
        )
        self.agent_cli("enrol", "--central", f"127.0.0.1:{self.enrol_port}", "--token", token)

    def up(self) -> "Stack":
        self.start_central()
        self.start_broker()
        self.start_launcher()
        self.enrol()
        self.start_agent()
        return self

    # --- what people type ------------------------------------------------------------------------

    def edgectl(self, *words: str) -> str:
        # Beside the wire that stands for the store's WAN: the operator sits next to central.
        central = ("--central", f"127.0.0.1:{self.control_port}")
        return _say([BIN / "edgectl", "--dir", self.dir / "central", *central, *words])

    def edgectl_json(self, *words: str) -> Any:
        import json

        return json.loads(self.edgectl(*words, "--json"))

    def agent_cli(self, *words: str) -> str:
        return _say([*UNPRIVILEGED, BIN / "edge-agent", "--config", self.config, *words])

    def broker_user(self, name: str = "store") -> tuple[str, str]:
        """Name and password of a user of the agent's own, at the plain port: what operators get for their tools."""
        return name, self.agent_cli("broker", "password", name).strip()

    def device(self, device: str, *words: str) -> Account:
        """Registers a device with a password, which is good at `mqtt_port` and at the TLS port without certificates."""
        return parse_account(device, self.agent_cli("device", "add", device, "--password", *words))

    def devices(self, names: Iterable[str]) -> dict[str, Account]:
        """Many at once, as `device` does."""
        listed = self.dir / "devices.csv"
        listed.write_text("id,credential\n" + "".join(f"{name},password\n" for name in names))
        told = csv.DictReader(self.agent_cli("device", "import", str(listed)).splitlines())
        return {row["id"]: Account(row["user"], row["password"]) for row in told}

    def device_certificate(self, device: str, *words: str) -> Certificate:
        """Registers a device with a certificate and a key of this store's CA, for the TLS port that wants one."""
        out = self.dir / f"device-{device}"
        out.mkdir(exist_ok=True)
        shutil.chown(out, USER)
        self.agent_cli("device", "add", device, "--key", "--out", str(out), *words)
        return Certificate(
            device, self.broker.ports.certificates, out / f"{device}.crt", out / f"{device}.key", out / "ca.crt"
        )

    def close(self) -> None:
        """End everything that was started, and leave no process, cgroup, mount or file behind."""
        for name in ("gateway", "agent", "launcher", "mosquitto", "central"):
            if (part := self.parts.get(name)) is not None and part.alive():
                with contextlib.suppress(StackError):
                    part.stop()
        if (self.dir / "launcher").exists():
            subprocess.run([*map(str, self._launcher_argv()), "--purge"], check=False, capture_output=True)
        for one in self.notified.values():
            one.close()
        self.wire.close()
        self.broker.close()
        subprocess.run(["umount", self.netns], check=False, capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)
        shutil.rmtree(self.run_dir, ignore_errors=True)


@contextlib.contextmanager
def running(*, listen: bool = False) -> Iterator[Stack]:
    stack = Stack(listen)
    try:
        yield stack.up()
    finally:
        stack.close()


def _say(argv: Sequence[str | Path]) -> str:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}  # what is installed, not what lies around
    done = subprocess.run(
        [str(w) for w in argv], capture_output=True, text=True, cwd="/", env=env, timeout=120, check=False
    )
    if done.returncode != 0:
        raise StackError(f"{' '.join(str(w) for w in argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def until(condition: Any, *, what: str, seconds: float = 30.0) -> None:
    """Poll until `condition()` is true; processes offer no better signal than what they show."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise StackError(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)
