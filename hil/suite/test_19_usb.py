"""USB devices are pulled out while they are used: a serial line, and a stick that images are fetched from."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.board import COMMAND_SECONDS, until
from hil.central import Central
from hil.faults import AGENT, heard, job, pid, publishing, whole
from hil.qmp import Qmp
from hil.suite.conftest import NODE
from tests.registry import image, layer, write_layout

TTY = "/dev/ttyUSB0"
READ = f"stty -F {TTY} raw -echo; exec cat {TTY} >/run/till"
STICK = "/media/stick"
CONFIG = "/etc/edge-agent/agent.toml"
TOP = """
[[tenant]]
id = "citycloud"
quota = { jobs = 2, cpu_milli = 400, memory = "128MiB" }
"""
JOB = """
[[job]]
id = "{name}"
tenant = "citycloud"
kind = "service"
image = "{digest}"
command = ["/bin/busybox", "sleep", "1000000"]
cpu_milli = 100
memory = "32MiB"
restart = {{ mode = "always", backoff = "1s" }}
"""


@pytest.mark.lg_feature("usb")
def test_a_serial_device_that_is_pulled_and_put_back_disturbs_nobody(
    enrolled: Any, central: Central, qmp: Qmp, env: Any, injected: Callable[[str], None]
) -> None:
    line = Path(env.config.data["options"]["qmp_socket"]).parent / "till.sock"
    before = pid(enrolled, AGENT)
    with publishing(enrolled, central, NODE, ("scale-u",), 4.0) as devices, socket.socket(socket.AF_UNIX) as till:
        till.connect(str(line))
        for number in range(3):
            qmp.command("device_add", driver="usb-serial", chardev="till", id="till")
            injected(f"USB serial line put in, {number + 1} of 3")
            try:
                until(lambda: enrolled.run(f"test -c {TTY}")[2] == 0, "the line to be there")
                enrolled.run_check(f"systemd-run --quiet --collect --unit=till sh -c '{READ}'")
                until(lambda: _says(enrolled, till), "what it says")
            finally:
                qmp.command("device_del", id="till")
                injected("pulled out while it is read")
            qmp.wait("DEVICE_DELETED", 30)
            until(lambda: enrolled.run(f"test -e {TTY}")[2] != 0, "the line to be gone")
            enrolled.run("systemctl stop till")
        heard(central, NODE, devices)
    whole(central, NODE, devices)
    assert pid(enrolled, AGENT) == before


def _says(ssh: Any, till: socket.socket) -> bool:
    """Whether the reader has heard the till, which speaks now: nobody keeps what came before it listened."""
    till.sendall(b"12.50\n")
    return "12.50" in ssh.run("cat /run/till")[0]


@pytest.fixture
def stick(enrolled: Any, qmp: Qmp, tmp_path: Path, injected: Callable[[str], None]) -> Iterator["Stick"]:
    """With an image of busybox in each of two layouts, which the agent was told of."""
    busybox = tmp_path / "busybox"
    enrolled.get("/bin/busybox", str(busybox))
    made = Stick(enrolled, qmp, injected)
    (tmp_path / "files").mkdir()
    for name in ("first", "second"):
        what = image(layer({"bin/busybox": busybox.read_bytes(), "etc/name": name.encode()}))
        write_layout(what, tmp_path / "files" / name)
        made.digests[name] = what.digest
    disk = tmp_path / "stick.img"
    subprocess.run(
        ["mkfs.ext4", "-q", "-O", "^has_journal", "-d", str(tmp_path / "files"), str(disk), "64M"], check=True
    )
    qmp.command("blockdev-add", driver="raw", node_name="stick", file={"driver": "file", "filename": str(disk)})
    layouts = f'["{STICK}/first", "{STICK}/second"]'
    edits = f's|^#layouts = .*|layouts = {layouts}|; s|^#mounts = .*|mounts = ["/", "{STICK}"]|'
    enrolled.run_check(f"mkdir -p {STICK} && cp -p {CONFIG} /root/agent.toml.before && sed -i '{edits}' {CONFIG}")
    enrolled.run_check(f"edge-agent config check {CONFIG}", timeout=COMMAND_SECONDS)
    enrolled.run_check(f"systemctl restart {AGENT}", timeout=180)
    yield made
    made.pull()
    qmp.command("blockdev-del", node_name="stick")
    enrolled.run_check(f"cp -p /root/agent.toml.before {CONFIG} && systemctl restart {AGENT}", timeout=180)


class Stick:
    """A USB stick; `digests` of the images on it, by layout."""

    def __init__(self, ssh: Any, qmp: Qmp, injected: Callable[[str], None]) -> None:
        self.digests: dict[str, str] = {}
        self._ssh, self._qmp, self._injected, self._is_in = ssh, qmp, injected, False

    def put_in(self) -> None:
        self._qmp.command("device_add", driver="usb-storage", drive="stick", id="stick")
        self._injected("stick put in")
        self._is_in = True
        until(lambda: self._ssh.run("test -b /dev/sda")[2] == 0, "the stick to be there")
        self._ssh.run_check(f"mount -o ro /dev/sda {STICK}")

    def pull(self) -> None:
        """As people do it: mounted."""
        if self._is_in:
            self._qmp.command("device_del", id="stick")
            self._injected("stick pulled out")
            self._qmp.wait("DEVICE_DELETED", 30)
            self._is_in = False
            until(lambda: self._ssh.run("test -e /dev/sda")[2] != 0, "the stick to be gone")
            self._ssh.run(f"umount -l {STICK}")  # what an automounter does


@pytest.mark.lg_feature("usb")
@pytest.mark.timeout(1200)
def test_a_stick_with_images_that_is_pulled_is_waited_for(
    enrolled: Any, central: Central, stick: "Stick", times: dict[str, float]
) -> None:
    until(lambda: central.connected(NODE), "the node to be connected", 180)
    before = pid(enrolled, AGENT)
    stick.put_in()
    first = JOB.format(name="first", digest=stick.digests["first"])
    central.apply(NODE, TOP + first)
    until(lambda: _state(enrolled, "first") == "JOB_STATE_RUNNING", "a job whose image is on the stick", 240)
    running = job(enrolled, "first")["pid"]
    stick.pull()
    central.apply(NODE, TOP + first + JOB.format(name="second", digest=stick.digests["second"]))
    until(lambda: _state(enrolled, "second") == "JOB_STATE_PREPARING", "the next to wait for its image", 120)
    until(lambda: bool(job(enrolled, "second").get("message")), "it to say why", 120)
    stick.put_in()
    times["stick back to job running"] = until(
        lambda: _state(enrolled, "second") == "JOB_STATE_RUNNING", "the job, once the stick is back", 240
    )
    assert job(enrolled, "first")["pid"] == running
    assert pid(enrolled, AGENT) == before
    central.apply(NODE, TOP)


def _state(ssh: Any, name: str) -> str:
    return str(job(ssh, name).get("state", ""))
