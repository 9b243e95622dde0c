"""central/cli/device.py and devices.py: what is asked of which node, and what is shown."""

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from central.cli import __main__, client
from storeedge.v1 import agent_pb2 as wire
from storeedge.v1.record_pb2 import DeviceValue


class Nodes:
    """Every node behind central."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Message]] = []
        self.in_force = True

    def ask(self, _central: Any, node: Any, method: str, request: Message, *_: Any) -> Message:
        copy = type(request)()
        copy.CopyFrom(request)
        self.asked.append((client.ref_text(node), copy))
        match request:
            case wire.PutDeviceRequest():
                return wire.PutDeviceResponse(password="geheim" * request.make_password, in_force=self.in_force)
            case wire.PutDevicesRequest():
                devices = [wire.PutDeviceResponse(password="geheim")] * (0 if request.check else len(request.devices))
                return wire.PutDevicesResponse(devices=devices, in_force=self.in_force)
            case wire.RevokeDeviceRequest():
                return wire.RevokeDeviceResponse(in_force=self.in_force)
            case wire.SendDeviceCommandRequest():
                state = wire.COMMAND_STATE_QUEUED if request.queue_seconds else wire.COMMAND_STATE_ANSWERED
                return wire.SendDeviceCommandResponse(payload=b"done", elapsed_milli=7, command="c1", state=state)
            case wire.ListDeviceCommandsRequest():
                number = int(request.after.removeprefix("c") or 0) + 1
                told = wire.DeviceCommand(id=f"c{number}", device="gate", state=wire.COMMAND_STATE_SENT)
                return wire.ListDeviceCommandsResponse(commands=[told], more=number < 3)
            case wire.ListDevicesRequest():
                first = int(request.after.removeprefix("d") or -1) + 1
                value = [DeviceValue(name="t", number=4.5)] if request.device else []
                ends = 1_800_000_000 * 10**9
                told_device = wire.Device(
                    id=f"d{first}",
                    online=True,
                    credential=wire.CREDENTIAL_CERTIFICATE,
                    certificate_not_after_unix_nano=ends,
                    values=value,
                )
                return wire.ListDevicesResponse(devices=[told_device], more=first < 2, total=3, online=1)
            case _:
                return wire.CancelDeviceCommandResponse()

    def last(self) -> Any:
        return self.asked[-1][1]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    behind = Nodes()

    @contextmanager
    def operator(_: Any) -> Generator[None]:
        yield None

    monkeypatch.setattr(client, "operator", operator)
    monkeypatch.setattr(client, "ask", behind.ask)
    return behind


@pytest.fixture
def edgectl(monkeypatch: pytest.MonkeyPatch, nodes: Nodes) -> Any:
    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["edgectl", *words])
        return __main__.main()

    return run


def test_only_what_was_said_is_asked_of_the_node(
    edgectl: Any, nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edgectl("device", "add", "s/n", "scale", "--password", "--zone", "", "--silent-after", "60") == 0
    assert nodes.asked == [
        ("s/n", wire.PutDeviceRequest(device="scale", zone="", silent_after_seconds=60, make_password=True))
    ]
    assert "geheim" in capsys.readouterr().out
    nodes.in_force = False
    assert edgectl("device", "revoke", "s/n", "scale", "--forget") == 0
    assert nodes.last() == wire.RevokeDeviceRequest(device="scale", forget=True)
    assert "not in force yet" in capsys.readouterr().err
    assert edgectl("--json", "device", "revoke", "s/n", "scale") == 0
    assert json.loads(capsys.readouterr().out) == {"id": "scale", "in_force": False}


def test_json_may_be_asked_for_at_either_end(edgectl: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ("--json", "device", "add", "s/n", "scale", "--password"),
        ("device", "--json", "add", "s/n", "scale", "--password"),
        ("device", "add", "s/n", "scale", "--password", "--json"),
    ):
        assert edgectl(*words) == 0
        assert json.loads(capsys.readouterr().out)["password"] == "geheim"


def test_one_list_goes_to_many_nodes_each_with_its_own_directory(
    edgectl: Any, nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "list.csv"
    file.write_text("id,credential\nscale,password\n")
    assert edgectl("device", "import", "--file", str(file), "--out", str(tmp_path / "out"), "s/a", "s/b") == 0
    assert [name for name, _ in nodes.asked] == ["s/a", "s/a", "s/b", "s/b"]
    assert sorted(path.parent.name for path in (tmp_path / "out").rglob("devices.csv")) == ["a", "b"]
    capsys.readouterr()
    assert edgectl("device", "import", "--file", str(file), "s/a") == 0
    assert "scale,password,scale,geheim" in capsys.readouterr().out
    assert edgectl("--json", "device", "import", "--file", str(file), "s/a", "s/b") == 0
    assert sorted(json.loads(capsys.readouterr().out)) == ["s/a", "s/b"]


def test_what_is_wrong_with_a_list_or_a_number_is_one_line_and_asks_nobody(
    edgectl: Any, nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.csv").write_text("name\nx\n")
    assert edgectl("device", "import", "--file", str(tmp_path / "list.csv"), "s/n") == 1
    assert "a column id is missing" in capsys.readouterr().err
    assert edgectl("device", "add", "s/n", "d", "--days", "-1") == 1
    assert "--silent-after or --days" in capsys.readouterr().err
    assert edgectl("device", "add", "s/n", "d", "--csr", str(tmp_path / "none")) == 1
    assert nodes.asked == []


def test_commands_are_sent_listed_over_pages_and_cancelled(
    edgectl: Any, nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edgectl("device", "send", "s/n", "gate", "open", "3", "--timeout", "5") == 0
    assert capsys.readouterr().out == "done  (7 ms)\n"
    assert edgectl("device", "send", "s/n", "gate", "open", "--queue", "60", "--again") == 0
    assert (nodes.last().queue_seconds, nodes.last().assurance) == (60, wire.ASSURANCE_AT_LEAST_ONCE)
    assert capsys.readouterr().out == "goes on without you: c1\n"
    assert edgectl("device", "commands", "s/n") == 0
    assert "3 commands" in capsys.readouterr().out
    assert edgectl("--json", "device", "commands", "s/n", "gate") == 0
    assert [each["id"] for each in json.loads(capsys.readouterr().out)["commands"]] == ["c1", "c2", "c3"]
    assert edgectl("device", "cancel", "s/n", "c1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"command": "c1"}
    assert nodes.last() == wire.CancelDeviceCommandRequest(command="c1")
    assert edgectl("--json", "device", "send", "s/n", "gate", "open") == 0
    assert json.loads(capsys.readouterr().out)["payload"] == "done"
