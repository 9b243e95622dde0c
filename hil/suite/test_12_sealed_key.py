"""The node's key is locked by the TPM of its machine: the disk in another one is no node, and becomes none."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.board import COMMAND_SECONDS, now, until
from hil.central import Central
from hil.suite.conftest import NODE
from hil.suite.test_11_first_boot import doctor

KEY = "/var/lib/edge-agent/identity/current/key.pem"
pytestmark = [pytest.mark.lg_feature("tpm"), pytest.mark.timeout(900)]


def test_the_key_is_locked_on_disk_and_the_agent_works_with_it(enrolled: Any, central: Central) -> None:
    assert enrolled.run_check(f"head -n 1 {KEY}") == ["-----BEGIN ENCRYPTED PRIVATE KEY-----"]
    assert enrolled.run_check("stat -c %U:%a /etc/credstore.encrypted/edge-agent-key") == ["root:600"]
    until(lambda: central.connected(NODE), "the node to be connected")
    assert doctor(enrolled)["key"] == {
        "check": "key", "level": "ok", "text": "locked by this machine's TPM", "remedy": "",
    }  # fmt: skip
    # What opens it is on no disk, and the agent's alone.
    place = "/run/credentials/edge-agent.service"
    assert enrolled.run_check(f"stat -f -c %T {place}")[0] in ("ramfs", "tmpfs")
    owner, mode = enrolled.run_check(f"stat -c '%U %a' {place}/edge-agent-key")[0].split()
    assert (owner, mode) in (("edge-agent", "400"), ("root", "440"))


@pytest.mark.lg_feature("power-cut")
def test_it_opens_after_a_power_cut(board: Any, enrolled: Any, central: Central, times: dict[str, float]) -> None:
    assert enrolled.run_check("true") == []
    board.cut_power()
    board.restore_power()
    times["power to central, locked key"] = until(lambda: central.connected(NODE), "the node to be connected", 300)
    assert board.ssh.run_check("systemctl --failed --no-legend") == []


@pytest.fixture
def other_machine(board: Any, enrolled: Any, injected: Callable[[str], None]) -> Iterator[Any]:  # noqa: ARG001
    """Its ssh: the same disk, and everything else but the TPM."""
    tpm = Path(os.environ["LG_HIL_RUN"], "tpm")
    board.ssh.run_check("sync")
    board.cut_power()
    tpm.rename(tpm.with_name("tpm.own"))
    injected("the disk is put into another machine")
    board.restore_power()
    yield board.ssh
    board.cut_power()
    shutil.rmtree(tpm)
    tpm.with_name("tpm.own").rename(tpm)
    injected("the disk is back")
    board.restore_power()
    until(lambda: board.ssh.run("systemctl is-active --quiet edge-agent")[2] == 0, "the agent to be ready", 240)


@pytest.mark.lg_feature(["virtual", "power-cut"])
@pytest.mark.expects("edge-agent.service", "edge-agent-key.service")
def test_a_clone_of_the_disk_in_another_machine_does_not_start_connect_or_enrol(
    other_machine: Any, central: Central
) -> None:
    ssh = other_machine
    told = "the key of this node was locked by the TPM of another machine"
    until(
        lambda: told in "\n".join(ssh.run_check("journalctl -b -o cat --no-pager -u edge-agent-key")), "the reason", 240
    )
    assert ssh.run("systemctl is-active edge-agent")[0] in (["activating"], ["failed"], ["inactive"])
    assert ssh.run_check("systemctl show -P ExecMainStatus edge-agent") == ["243"]  # CREDENTIALS
    found = doctor(ssh)["key"]
    assert found["level"] == "fail"
    assert "edge-agent enrol --force" in found["remedy"]
    # By hand, as the agent's user, past the unit: nothing on the disk opens the key.
    by_hand = "setpriv --reuid=edge-agent --regid=edge-agent --clear-groups edge-agent run"
    _, error, code = ssh.run(by_hand, timeout=COMMAND_SECONDS)
    assert code == 78
    assert "is locked by a machine's TPM" in "".join(error)
    # Nor does the disk hold a token that is still good.
    ssh.run_check("! grep -rlI 'set1\\.' /boot /var/lib/edge-agent /etc/edge-agent")
    words = f"edge-agent enrol --force --central {central.address}:{central.enrol_port} --token {central.tokens[NODE]}"
    _, error, code = ssh.run(words, timeout=COMMAND_SECONDS)
    assert code == 1
    assert "TOKEN_USED" in "".join(error)
    assert not central.connected(NODE)


@pytest.mark.lg_feature(["virtual", "power-cut"])
def test_back_in_its_machine_it_is_the_node_again(enrolled: Any, central: Central) -> None:
    assert now(enrolled)
    until(lambda: central.connected(NODE), "the node to be connected", 240)
