"""systemd/install, from wheels and without a network, on a machine that never saw the agent."""

from typing import Any

import pytest

from hil.board import COMMAND_SECONDS


@pytest.mark.core
def test_its_parts_are_where_they_belong(installed: Any) -> None:
    installed.run_check("test -L /opt/store-edge-agent/current")
    assert installed.run_check("edge-agent --version", timeout=COMMAND_SECONDS) == ["0.1.0"]
    assert installed.run_check("stat -c %U:%G:%a /run/edge-launcher/launcher.sock") == ["root:edge-agent:660"]
    installed.run_check("edge-agent config check /etc/edge-agent/agent.toml", timeout=COMMAND_SECONDS)


@pytest.mark.core
def test_a_box_that_is_not_enrolled_has_no_failed_unit(installed: Any) -> None:
    if installed.run("test -e /var/lib/edge-agent/identity/current")[2] == 0:
        pytest.skip("enrolled already")
    assert installed.run_check("systemctl show -P ActiveState -P ConditionResult edge-agent") == ["inactive", "no"]
    assert installed.run_check("systemctl --failed --no-legend") == []


def test_systemd_finds_nothing_to_say_about_the_units(installed: Any) -> None:
    units = "edge-agent.service edge-launcher.service edge-launcher.socket edge-jobs.service edge-gateway.service"
    units += " mosquitto.service edge-broker-reload.path edge-broker-restart.path"
    out, err, code = installed.run(f"systemd-analyze verify --man=no {units}")
    assert (out, err, code) == ([], [], 0)


def test_installing_again_changes_nothing(installed: Any) -> None:
    stamp = "find /opt/store-edge-agent /etc/edge-agent -newer /root/stamp"
    installed.run_check("touch /root/stamp")
    installed.run_check("/root/release/systemd/install --wheelhouse /root/release/wheelhouse", timeout=300)
    assert installed.run_check(stamp) == []
