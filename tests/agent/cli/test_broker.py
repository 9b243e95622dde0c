"""edge-agent broker, as it is typed and as systemd calls it."""

import json
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.model import Credential
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.accounts_file import AccountsFile
from agent.mqtt.access.secret import password


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("state", "broker"):
        (tmp_path / name).mkdir()
    (tmp_path / "agent.toml").write_text(
        f'[node]\nstate_dir = "{tmp_path}/state"\n[mqtt]\nbroker_dir = "{tmp_path}/broker"\n'
    )
    return tmp_path


def prepare(home: Path) -> int:
    return main(["--config", str(home / "agent.toml"), "broker", "prepare"])


def test_a_new_box_gets_all_that_its_broker_needs(home: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert prepare(home) == 0
    state = json.loads(capfdbinary.readouterr().out)
    assert {client["username"] for client in state["clients"]} == {
        "edge-agent", "edge-agent-commands", "edge-agent-control", "edge-agent-retained", "store",
    }  # fmt: skip
    assert {"ca.crt", "server.crt", "server.key", "revoked.crl"} <= {path.name for path in (home / "broker").iterdir()}
    assert (home / "state/mqtt-secret").stat().st_mode & 0o777 == 0o600


def test_again_it_changes_nothing_and_knows_the_devices(home: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert prepare(home) == 0
    before = {path.name: path.read_bytes() for path in (home / "broker").iterdir()}
    file = AccountsFile(home / "state/accounts.db", lambda: 1)
    file.load()
    file.put([Account("scale", credential=Credential.PASSWORD, password_generation=1)], [], [])
    file.close()
    capfdbinary.readouterr()
    assert prepare(home) == 0
    state = json.loads(capfdbinary.readouterr().out)
    assert "scale" in {client["username"] for client in state["clients"]}
    assert before == {path.name: path.read_bytes() for path in (home / "broker").iterdir()}


def test_who_may_do_what_is_printed_though_the_certificates_fail(
    home: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (home / "broker").rmdir()
    assert prepare(home) == 1
    said = capfdbinary.readouterr()
    assert b"certificates are as they were" in said.err and str(home / "broker").encode() in said.err
    assert json.loads(said.out)["clients"]


def test_nothing_is_printed_when_it_is_not_known_who_may_do_what(
    home: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (home / "state/mqtt-secret").write_bytes(b"cut")
    assert prepare(home) == 1
    said = capfdbinary.readouterr()
    assert said.out == b"" and b"mqtt-secret has 3 bytes" in said.err


def test_the_password_of_the_stores_tools_is_the_one_that_the_broker_has(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(home / "agent.toml"), "broker", "password", "store"]) == 0
    key = (home / "state/mqtt-secret").read_bytes()
    assert capsys.readouterr().out == password(key, "store", "store", 0) + "\n"
