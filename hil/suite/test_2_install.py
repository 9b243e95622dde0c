"""The package, with apt and without a network, on a machine that never saw the agent."""

from typing import Any

import pytest

from deb import tree
from hil import release
from hil.board import COMMAND_SECONDS

UNITS = "edge-agent edge-launcher edge-jobs mosquitto"


@pytest.mark.core
def test_its_parts_are_where_they_belong(installed: Any) -> None:
    installed.run_check("test -L /opt/store-edge-agent/current")
    assert installed.run_check("edge-agent --version", timeout=COMMAND_SECONDS) == [tree.version()]
    assert installed.run_check("stat -c %U:%G:%a /run/edge-launcher/launcher.sock") == ["root:edge-agent:660"]
    installed.run_check("edge-agent config check /etc/edge-agent/agent.toml", timeout=COMMAND_SECONDS)


def test_the_release_in_force_is_what_dpkg_unpacked(installed: Any) -> None:
    # The image has no documentation: dpkg was told to leave it out.
    wrong = installed.run("dpkg --verify store-edge-agent", timeout=COMMAND_SECONDS)[0]
    assert [line for line in wrong if not line.startswith("missing     /usr/share/")] == []
    file = "lib/python3.11/site-packages/agent/app.py"
    one, other = f"/usr/lib/store-edge-agent/release/{file}", f"/opt/store-edge-agent/current/{file}"
    installed.run_check(f"test {one} -ef {other}")


@pytest.mark.core
def test_a_box_that_is_not_enrolled_has_no_failed_unit(installed: Any) -> None:
    if installed.run("test -e /var/lib/edge-agent/identity/current")[2] == 0:
        pytest.skip("enrolled already")
    assert installed.run_check("systemctl show -P ActiveState -P ConditionResult edge-agent") == ["inactive", "no"]
    assert installed.run_check("systemctl --failed --no-legend") == []


def test_systemd_finds_nothing_to_say_about_the_units(installed: Any) -> None:
    units = " ".join(
        entry.file for entry in tree.placed() if entry.kind in ("unit", "started") and "/" not in entry.file
    )
    out, err, code = installed.run(
        f"systemd-analyze verify --man=no {units} mosquitto.service", timeout=COMMAND_SECONDS
    )
    assert (out, err, code) == ([], [], 0)


@pytest.mark.timeout(1200)
def test_installing_again_changes_nothing(installed: Any) -> None:
    stamp = "find /opt/store-edge-agent /etc/edge-agent /etc/mosquitto /etc/apparmor.d -newer /root/stamp"
    running = f"systemctl show -P MainPID -P ExecMainStartTimestampMonotonic {UNITS}"
    before = installed.run_check(running)
    installed.run_check("touch /root/stamp")
    release.install(installed, "/root/store-edge-agent_*.deb", "--reinstall")
    assert installed.run_check(stamp) == []
    assert installed.run_check(running) == before
