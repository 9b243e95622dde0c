"""A technician plugs the box in, and nothing else: a file on its boot partition, or on a stick, enrols it."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.board import COMMAND_SECONDS, until
from hil.central import Central
from hil.qmp import Qmp

NAME = "edge-agent-enrol.toml"
BOOT = "/boot/firmware"
# As it came from the factory: what the board is, is put aside, and the release stays.
ASIDE = """
systemctl stop edge-agent mosquitto edge-jobs
for folder in edge-agent edge-broker; do mv /var/lib/$folder /var/lib/$folder.aside; done
systemd-tmpfiles --create edge-agent.conf
systemctl start mosquitto
"""
BACK = """
systemctl stop edge-enrol edge-agent mosquitto edge-jobs
for folder in edge-agent edge-broker; do rm -rf /var/lib/$folder; mv /var/lib/$folder.aside /var/lib/$folder; done
systemctl start mosquitto edge-agent
"""
pytestmark = [pytest.mark.lg_feature("power-cut"), pytest.mark.timeout(900)]


@pytest.fixture
def empty(board: Any, enrolled: Any) -> Iterator[Any]:
    """Its ssh; never enrolled."""
    enrolled.run_check(ASIDE, timeout=COMMAND_SECONDS)
    yield board.ssh
    board.ssh.run_check(BACK, timeout=300)


@pytest.fixture
def boot_partition(enrolled: Any, tmp_path: Path) -> Iterator[str]:
    """Mounted at each boot, FAT as on a Raspberry Pi: the board's own, or else one in a file."""
    own = enrolled.run(f"mountpoint -q {BOOT}")[2] == 0
    if not own:
        fat(tmp_path / "boot.img", offset_sectors=0)
        enrolled.put(str(tmp_path / "boot.img"), "/root/boot.img")
        line = f"/root/boot.img {BOOT} vfat loop,nofail,umask=0077 0 0"
        enrolled.run_check(f"mkdir -p {BOOT} && echo '{line}' >>/etc/fstab && mount {BOOT}")
    yield BOOT
    if not own:
        enrolled.run_check(f"umount {BOOT}; sed -i '/boot.img/d' /etc/fstab; rm /root/boot.img")


def fat(image: Path, *, offset_sectors: int, **files: str) -> None:
    """A FAT file system in `image`, with a partition table before it if there is room for one."""
    with image.open("wb") as file:
        file.truncate(48 << 20)
    if offset_sectors:
        layout = f"{offset_sectors},,c\n"
        subprocess.run(["sfdisk", "--quiet", str(image)], input=layout, text=True, check=True)
    make = ["mkfs.vfat", "-n", "TECH", f"--offset={offset_sectors}", str(image)]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    for name, text in files.items():
        copy = ["mcopy", "-i", f"{image}@@{offset_sectors * 512}", "-", f"::{name}"]
        subprocess.run(copy, input=text, text=True, check=True)


def wish(central: Central, node: str) -> str:
    store, _, name = node.partition("/")
    lines = {"central": f"{central.address}:{central.enrol_port}", "token": central.token(node), "store": store}
    return "".join(f'{key} = "{value}"\n' for key, value in (lines | {"node": name}).items())


def doctor(ssh: Any) -> dict[str, dict[str, str]]:
    said = json.loads("\n".join(ssh.run("edge-agent doctor --json", timeout=COMMAND_SECONDS)[0]))
    return {check["check"]: check for check in said["checks"]}


def test_a_file_on_the_boot_partition_enrols_the_box_at_its_first_boot(
    board: Any,
    empty: Any,
    boot_partition: str,
    central: Central,
    times: dict[str, float],
    injected: Callable[[str], None],
) -> None:
    node = "berlin-12/first-1"
    text = wish(central, node)
    empty.run_check(f"cat >{boot_partition}/{NAME} <<'END'\n{text}END\nsync")
    injected("the file is on the boot partition")
    board.cut_power()
    board.restore_power()
    times["power to central, first boot"] = until(lambda: central.connected(node), "the box to be at central", 300)
    # Not one command was typed until here.
    ssh = board.ssh
    until(lambda: ssh.run(f"test -e {boot_partition}/{NAME}")[2] != 0, "the token to be taken away")
    assert "set1." not in "".join(ssh.run_check(f"cat {boot_partition}/{NAME}.done"))
    assert ssh.run_check(f"ls {boot_partition}") == [f"{NAME}.done"]
    assert doctor(ssh)["enrolment file"]["text"].startswith(f"{boot_partition}/{NAME} enrolled this box at ")
    assert ssh.run_check("systemctl --failed --no-legend") == []
    # The same file again: this box is a node, and stays the one it is.
    ssh.run_check(f"cat >{boot_partition}/{NAME} <<'END'\n{wish(central, 'berlin-12/other')}END")
    ssh.run_check("systemctl start edge-enrol && ! systemctl is-failed edge-enrol")
    until(lambda: ssh.run("systemctl is-active edge-enrol")[0] == ["inactive"], "it to have looked")
    assert ssh.run(f"grep -c set1 {boot_partition}/{NAME}")[0] == ["1"]
    assert central.connected(node)


@pytest.mark.lg_feature("usb")
def test_a_stick_enrols_the_box_that_it_is_plugged_into_and_may_be_pulled_at_once(
    empty: Any, central: Central, qmp: Qmp, tmp_path: Path, times: dict[str, float], injected: Callable[[str], None]
) -> None:
    node, image = "berlin-12/stick-1", tmp_path / "stick.img"
    fat(image, offset_sectors=2048, **{NAME: wish(central, node)})
    central.stop()
    qmp.command(
        "blockdev-add", driver="raw", node_name="tech", read_only=False, file={"driver": "file", "filename": str(image)}
    )
    try:
        qmp.command("device_add", driver="usb-storage", drive="tech", id="tech")
        injected("stick plugged in while central is away")
        until(lambda: "found on the USB stick" in said(empty), "the file to be found")
        until(
            lambda: empty.run("test -e /run/edge-enrol/stick && mountpoint -q /run/edge-enrol/stick")[2] != 0,
            "unmounted",
        )
        qmp.command("device_del", id="tech")
        injected("stick pulled out")
        qmp.wait("DEVICE_DELETED", 30)
        until(lambda: "trying again" in said(empty), "the first attempt to fail", 180)
        assert doctor(empty)["enrolment file"]["level"] == "fail"
    finally:
        central.start()
    times["central back to connected, by a stick"] = until(lambda: central.connected(node), "the box at central", 300)
    # Nobody but the script saw the stick mounted, and it is as it was.
    assert empty.run("findmnt -t vfat -S /dev/sda1")[0] == []
    listed = subprocess.run(["mdir", "-b", "-i", f"{image}@@1M", "::"], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == [f"::/{NAME}"]
    assert empty.run("ls /run/edge-enrol")[0] == []  # the token is in memory only, and was taken away there, too


@pytest.mark.expects("edge-enrol.service")
def test_a_wrong_file_is_told_on_the_screen_and_by_the_doctor(empty: Any, central: Central) -> None:
    wrong = wish(central, "berlin-12/wrong-1").replace("token", "tokne")
    empty.run_check(f"cat >/boot/{NAME} <<'END'\n{wrong}END")
    try:
        empty.run_check("systemctl start edge-enrol")
        until(lambda: empty.run("systemctl is-failed --quiet edge-enrol")[2] == 0, "it to be refused")
        told = f"/boot/{NAME}: tokne: unknown key, did you mean token?"
        assert told in said(empty)
        found = doctor(empty)["enrolment file"]
        assert found["level"] == "fail"
        assert told in found["text"]
        assert "reboot or plug the stick in again" in found["remedy"]
        assert "set1." not in said(empty) + json.dumps(found)
        assert empty.run_check("systemctl show -P StandardError edge-enrol") == ["journal+console"]
    finally:
        empty.run_check(f"rm /boot/{NAME}; systemctl reset-failed edge-enrol")


def said(ssh: Any) -> str:
    return "\n".join(ssh.run_check("journalctl --no-pager -o cat -b -u edge-enrol"))
