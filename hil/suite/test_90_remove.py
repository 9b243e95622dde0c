"""Last: the package is taken away. What the box is and knows stays until it is purged; then nothing does."""

from typing import Any

import pytest

from hil import release
from hil.board import COMMAND_SECONDS, until
from hil.central import Central
from hil.suite.conftest import NODE
from hil.suite.test_4_jobs import DESIRED, on_site

PACKAGE = "/root/store-edge-agent_*.deb"
# What is ours by its name, but for the packages that were put there, dpkg's own notes, and systemd's of units it knew.
LEFT = (
    "find / -xdev -name '*edge-*' -not -path '/proc/*' -not -path '/root/*' -not -path '/var/log/*' -not -path '/sys/*'"
)


def remains(ssh: Any) -> list[str]:
    """What runs' sandboxes leave in the kernel when nobody clears up."""
    commands = (
        "ip -o link | grep -F ' ej-'",
        "nft list tables | grep edge",
        "losetup -l -n | grep -F /var/lib/edge-launcher",
        "grep -F edge-launcher /proc/self/mounts",
        "ls -d /sys/fs/cgroup/*/edge-* /sys/fs/cgroup/*/*/edge-*",
        "grep -F edge-job /sys/kernel/security/apparmor/profiles",
    )
    return [line for command in commands for line in ssh.run(f"{command} 2>/dev/null")[0]]


def broker_runs(ssh: Any) -> bool:
    return bool(ssh.run("systemctl is-active --quiet mosquitto && mosquitto_pub -p 1883 -t t -m m")[2] == 0)


@pytest.mark.timeout(2400)
def test_remove_ends_everything_and_keeps_what_the_box_is_and_knows(enrolled: Any, central: Central) -> None:
    central.apply(NODE, DESIRED)
    until(lambda: central.job(NODE, "keeper").get("state") == "JOB_STATE_RUNNING", "the service to run")
    keeper = on_site(enrolled, "keeper")
    enrolled.run_check("mkdir -p /root/kept && rm -f /root/kept/* && mv /root/store-edge-agent_*.deb /root/kept")
    kept = "sha256sum /var/lib/edge-agent/identity/*/* /etc/edge-agent/*"
    before = enrolled.run_check(kept)
    enrolled.run_check("apt-get remove -y store-edge-agent </dev/null", timeout=release.INSTALL_SECONDS)
    assert enrolled.run(f"test -d /proc/{keeper['pid']}")[2] != 0
    assert remains(enrolled) == []
    assert enrolled.run("ls /opt/store-edge-agent /usr/bin/edge-agent /etc/mosquitto/conf.d/edge-agent.conf")[0] == []
    assert enrolled.run_check(kept) == before
    assert broker_runs(enrolled)
    assert enrolled.run_check("systemctl --failed --no-legend") == []


@pytest.mark.timeout(2400)
def test_installed_again_it_is_the_same_node(enrolled: Any, central: Central) -> None:
    until(lambda: not central.connected(NODE), "central to see it gone")
    newest = enrolled.run_check("ls -t /root/kept/*.deb")[0]
    release.install(enrolled, newest)
    until(lambda: central.connected(NODE), "the node to be connected", 240)
    until(lambda: central.job(NODE, "keeper").get("state") == "JOB_STATE_RUNNING", "the service to run", 240)
    assert enrolled.run_check("systemctl --failed --no-legend") == []


@pytest.mark.timeout(2400)
def test_purge_leaves_nothing(enrolled: Any) -> None:
    enrolled.run_check("apt-get purge -y store-edge-agent </dev/null", timeout=release.INSTALL_SECONDS)
    assert remains(enrolled) == []
    assert enrolled.run(LEFT)[0] == []
    assert enrolled.run("getent passwd edge-agent; getent group edge-agent")[0] == []
    assert broker_runs(enrolled)
    assert enrolled.run_check("systemctl --failed --no-legend", timeout=COMMAND_SECONDS) == []
