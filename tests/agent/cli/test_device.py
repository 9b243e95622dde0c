"""agent/cli/device.py and devices.py, against the API on its socket, with the real CA behind it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from agent.__main__ import main
from agent.api.doors import ApiService
from agent.api.methods import NodeFacts, Sources
from agent.api.service import AgentApi
from agent.clock import system_clock
from agent.errors import AwayError
from agent.link import codec
from agent.model import DeviceValue, DeviceView
from agent.mqtt.access.accounts import Accounts
from agent.mqtt.access.accounts_file import AccountsFile
from agent.mqtt.access.ca import DeviceCa
from agent.mqtt.access.identities import Identities
from agent.orders import CommandAnswer, CommandOrder, CommandState, DevicePage, DeviceQuery


class Agent:
    """The part of it that these verbs speak to, on a thread of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.broker_is_away = directory, False
        (directory / "broker").mkdir()
        self.config = directory / "agent.toml"
        self.config.write_text(f'[node]\nstate_dir = "{directory}"\n[api]\nsocket = "{directory / "agent.sock"}"\n')
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))
        self._thread.start()
        assert self._ready.wait(20)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self._loop.close()

    def __call__(self, *words: str) -> int:
        return main(["--config", str(self.config), *words])

    async def _serve(self) -> None:
        clock = system_clock()
        accounts = Accounts(AccountsFile(self.directory / "accounts.db", clock.wall_nano))
        await accounts.open()
        identities = Identities(
            accounts,
            DeviceCa(self.directory, self.directory / "broker", clock),
            b"s" * 32,
            clock,
            apply_access=self._apply,
            forget_device=lambda _: False,
        )
        sources = Sources(
            clock=clock,
            node=lambda: NodeFacts("", "", 0, 0, 0, False, 0, {}),
            jobs=tuple,
            stop_job=None,  # type: ignore[arg-type]  # never called
            logs=None,  # type: ignore[arg-type]  # never called
            spool=None,  # type: ignore[arg-type]  # never called
            devices=self._devices,
            send_command=self._command,
            put_devices=lambda orders, check: identities.put(orders, check=check),
            revoke_device=lambda device, forget: identities.revoke(device, forget=forget),
        )
        api = AgentApi(sources, trust_domain="td", record=self._record)
        service = ApiService(api, codec.status, socket=self.directory / "agent.sock", listen="", credentials=None)
        with suppress(asyncio.CancelledError):
            await service.run(self._stop, self._ready.set)
        await accounts.close()

    async def _apply(self) -> None:
        if self.broker_is_away:
            raise AwayError("no broker")

    async def _record(self, _: object) -> None:
        pass

    async def _command(self, order: CommandOrder) -> CommandAnswer:
        state = CommandState.QUEUED if order.queue_seconds else CommandState.ANSWERED
        return CommandAnswer("c1", state, b"opened " + order.payload, 3)

    def _devices(self, asked: DeviceQuery) -> DevicePage:
        values = (DeviceValue("temperature", 4.5, "Cel"),)
        every = [
            DeviceView(f"d{n:04}", True, 1, 2, 3, 4, "devices/x/t", zone="cold", values=values) for n in range(2500)
        ]
        chosen = [view for view in every if view.id > asked.after and asked.device in ("", view.id)]
        return DevicePage(tuple(chosen[: asked.limit]), len(chosen) > asked.limit, 2500, 2500)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    running = Agent(tmp_path)
    yield running
    running.close()


def test_a_device_is_added_with_a_key_and_thrown_out_again(
    agent: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert agent("device", "add", "gate", "--key", "--zone", "entry", "--days", "10", "--out", str(out)) == 0
    said = capsys.readouterr().out
    assert f"key:         {out / 'gate.key'}" in said and "password" not in said
    leaf = x509.load_pem_x509_certificate((out / "gate.crt").read_bytes())
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate((out / "ca.crt").read_bytes()))
    assert agent("device", "revoke", "gate", "--forget") == 0
    assert agent("device", "revoke", "gate") == 1
    assert "'gate' is not registered here" in capsys.readouterr().err


def test_a_password_is_printed_and_a_broker_that_is_away_is_said(
    agent: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.broker_is_away = True
    assert agent("device", "add", "scale", "--password", "--out", str(tmp_path / "never")) == 0
    said = capsys.readouterr()
    assert "user:        scale\npassword:    " in said.out and "not in force yet" in said.err
    assert not (tmp_path / "never").exists()


def test_wrong_words_are_one_line(agent: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, why in (
        (("add", "a/b"), "id is 1 to 64"),
        (("add", "d", "--silent-after", "-1"), "--silent-after or --days"),
        (("add", "d", "--csr", str(tmp_path / "none")), "none"),
        (("import", str(tmp_path / "none.csv")), "none.csv"),
        (("show", "nobody"), "no such device"),
    ):
        assert agent("device", *words) == 1
        assert why in capsys.readouterr().err


def test_a_list_is_imported_twice_with_the_same_passwords(
    agent: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "list.csv"
    file.write_text("id,zone,credential\n" + "".join(f"s{number},cold,password\n" for number in range(300)))
    assert agent("device", "import", str(file)) == 0
    first = capsys.readouterr().out
    assert agent("device", "import", str(file)) == 0
    assert capsys.readouterr().out == first and len(first.splitlines()) == 301
    assert agent("device", "import", str(file), "--out", str(tmp_path / "out")) == 0
    assert (tmp_path / "out" / "devices.csv").read_text() == first
    file.write_text("id,credential\nnew,password\nedge-agent,password\n")
    assert agent("device", "import", str(file)) == 1
    assert "edge-agent: this name is the agent's own" in capsys.readouterr().err


def test_devices_are_listed_over_many_pages(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    assert agent("devices", "--zone", "cold") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2502 and lines[-1] == "2500 shown; 2500 known here, 2500 online"
    assert agent("devices", "--json") == 0
    assert '"total": 2500' in capsys.readouterr().out


def test_one_device_is_shown_with_its_values(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    assert agent("device", "show", "d0001") == 0
    said = capsys.readouterr().out
    assert "temperature  4.5    Cel" in said and "cold" in said
    assert agent("device", "show", "d0001", "--json") == 0
    assert '"number": 4.5' in capsys.readouterr().out


def test_a_command_is_answered_or_goes_on_without_its_caller(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    assert agent("device", "command", "gate", "open", "3") == 0
    assert agent("device", "command", "gate", "open", "--queue", "60") == 0
    assert capsys.readouterr().out == "opened 3\ngoes on without you: c1\n"
