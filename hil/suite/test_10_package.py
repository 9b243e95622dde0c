"""The package taken up and back under load: jobs don't notice, and nothing that a device was promised is lost."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deb import tree
from deb.build import SCHEMAS
from hil import release
from hil.board import COMMAND_SECONDS, Device, until
from hil.central import Central
from hil.suite.conftest import NODE
from hil.suite.test_4_jobs import DESIRED, on_site

LATER = f"{tree.version()}.1"
DEVICE = "upgrade-scale"


def seen(central: Central) -> dict[str, Any]:
    """The node as central has it."""
    return next(node for node in central.nodes() if f"{node['ref']['store']}/{node['ref']['node']}" == NODE)


def life(ssh: Any, pid: int) -> str:
    """When a process started, in the kernel's ticks: two of the same number are told apart."""
    return str(ssh.run_check(f"cut -d ' ' -f 22 /proc/{pid}/stat")[0])


def started(ssh: Any, unit: str) -> list[str]:
    return list(ssh.run_check(f"systemctl show -P MainPID -P ExecMainStartTimestampMonotonic {unit}"))


@pytest.mark.timeout(2400)
def test_jobs_and_devices_do_not_notice_an_upgrade_nor_the_way_back(
    enrolled: Any,
    central: Central,
    times: dict[str, float],
    record_property: Callable[[str, object], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    packages = {
        version: release.put(enrolled, tmp_path_factory.mktemp(f"release-{version}"), version)
        for version in (LATER, tree.version())
    }
    central.apply(NODE, DESIRED)
    until(lambda: central.job(NODE, "keeper").get("state") == "JOB_STATE_RUNNING", "the service to run")
    keeper = on_site(enrolled, "keeper")
    job, broker, cgroup = life(enrolled, keeper["pid"]), started(enrolled, "mosquitto"), started(enrolled, "edge-jobs")
    scale = Device(enrolled, DEVICE, central.password(NODE, DEVICE), "weight", 4.0)
    try:
        until(lambda: len(scale.acknowledged) > 20, "the device to publish")
        for version, package in packages.items():
            agent, launcher = (started(enrolled, unit) for unit in ("edge-agent", "edge-launcher"))
            before = len(scale.acknowledged)
            since = time.monotonic()
            release.install(enrolled, package, "--allow-downgrades")
            times[f"install {version} over another"] = time.monotonic() - since
            assert enrolled.run_check("edge-agent --version", timeout=COMMAND_SECONDS) == [version]
            # apt waits until the agent says that it is ready.
            assert enrolled.run_check("systemctl is-active edge-agent edge-launcher") == ["active", "active"]
            assert started(enrolled, "edge-agent") != agent
            assert started(enrolled, "edge-launcher") != launcher
            until(lambda v=version: central.connected(NODE) and seen(central)["agent_version"] == v, "central to see")
            after = on_site(enrolled, "keeper")
            assert (after["state"], after["pid"], after["attempt"]) == (
                "JOB_STATE_RUNNING", keeper["pid"], keeper["attempt"]
            )  # fmt: skip
            assert life(enrolled, keeper["pid"]) == job
            assert started(enrolled, "edge-jobs") == cgroup
            assert started(enrolled, "mosquitto") == broker
            until(lambda n=before: len(scale.acknowledged) > n + 20, "the device to go on")
    finally:
        scale.stop()
    assert enrolled.run_check("systemctl --failed --no-legend") == []
    assert Path(enrolled.run_check("readlink /opt/store-edge-agent/previous")[0]).name.startswith(f"{LATER}-")

    def missing() -> set[int]:
        return set(scale.acknowledged) - set(received(central))

    until(lambda: not missing(), "everything acknowledged to be at central", 120)
    twice = sum(count - 1 for count in received(central).values())
    record_property("acknowledged", len(scale.acknowledged))
    record_property("delivered twice", twice)
    assert twice == 0


def received(central: Central) -> Counter[int]:
    return Counter(int(m["payload"]) for m in central.messages(NODE) if m["device"] == DEVICE)


@pytest.mark.timeout(1200)
def test_a_release_that_cannot_read_what_is_there_is_refused_and_the_agent_runs_on(enrolled: Any) -> None:
    """While the agent writes: dpkg asks the database itself."""
    agent = started(enrolled, "edge-agent")
    file = "/var/lib/edge-agent/accounts.db"
    as_agent = "setpriv --reuid=edge-agent --regid=edge-agent --clear-groups python3 -c"
    number = (
        "import sqlite3; db = sqlite3.connect('{}', timeout=30); db.execute('PRAGMA user_version = {}'); db.close()"
    )
    package = f"/root/store-edge-agent_{LATER}_*.deb"
    enrolled.run_check(f'{as_agent} "{number.format(file, SCHEMAS["accounts.db"] + 1)}"')
    try:
        out, err, code = enrolled.run(f"dpkg --install {package}", timeout=release.INSTALL_SECONDS)
    finally:
        enrolled.run_check(f'{as_agent} "{number.format(file, SCHEMAS["accounts.db"])}"')
    assert code != 0
    assert f"{file} has schema" in "".join(out + err)
    assert enrolled.run_check("edge-agent --version", timeout=COMMAND_SECONDS) == [tree.version()]
    assert started(enrolled, "edge-agent") == agent
    assert enrolled.run_check("dpkg-query -W -f '${db:Status-Status}' store-edge-agent") == ["installed"]
    assert set(enrolled.run_check("stat -c %U /var/lib/edge-agent/*.db*")) == {"edge-agent"}


MOMENTS = {
    "files of both releases stand side by side": "find /usr/lib/store-edge-agent -name '*.dpkg-new' | grep -q .",
    "the old one is gone and postinst has not run": f"grep -q '^{LATER}-' /usr/lib/store-edge-agent/release-name",
}


@pytest.mark.lg_feature("power-cut")
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_power_cut_while_dpkg_works_leaves_an_agent_that_runs(
    moment: str, board: Any, enrolled: Any, central: Central, injected: Callable[[str], None]
) -> None:
    later, ours = (enrolled.run_check(f"ls /root/store-edge-agent_{v}_*.deb")[0] for v in (LATER, tree.version()))
    enrolled.run_check("sync /root/*.deb")
    enrolled.run_check(f"systemd-run --quiet --unit=upgrade apt-get install -y --no-install-recommends {later}")
    watch = f"until {MOMENTS[moment]}; do sleep 0.1; done"
    enrolled.run_check(f'timeout 600 sh -c "{watch}"', timeout=release.INSTALL_SECONDS)
    injected(f"the supply fails while {moment}")
    board.cut_power()
    board.restore_power()
    until(lambda: enrolled.run("systemctl is-active --quiet edge-agent")[2] == 0, "the agent to be ready", 240)
    until(lambda: central.connected(NODE), "the node to be connected")
    version = enrolled.run_check("edge-agent --version", timeout=COMMAND_SECONDS)[0]
    assert version in (LATER, tree.version())
    enrolled.run_check(f"dpkg --install {later} </dev/null", timeout=release.INSTALL_SECONDS)
    assert enrolled.run_check("edge-agent --version", timeout=COMMAND_SECONDS) == [LATER]
    release.install(enrolled, ours, "--allow-downgrades")
    assert enrolled.run_check("edge-agent --version", timeout=COMMAND_SECONDS) == [tree.version()]
    assert enrolled.run_check("systemctl --failed --no-legend") == []
