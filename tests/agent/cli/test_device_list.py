"""agent/cli/device_list.py, which central/cli/device_list.py is the same text of."""

import base64
from pathlib import Path

import pytest

import agent.cli.device_list
import central.cli.device_list
from agent.cli import device_list
from agent.cli.device_list import ListError, Row
from storeedge.v1.agent_pb2 import (
    DEVICE_PROTOCOL_SPARKPLUG,
    PutDeviceRequest,
    PutDeviceResponse,
    PutDevicesRequest,
    PutDevicesResponse,
)


def read(directory: Path, text: str) -> list[Row]:
    file = directory / "devices.csv"
    file.write_text(text)
    return device_list.read(file)


class Node:
    """Takes what it is asked for, and remembers it."""

    def __init__(self, *, refuses: str = "") -> None:
        self.asked: list[PutDevicesRequest] = []
        self.refuses = refuses

    def __call__(self, asked: PutDevicesRequest) -> PutDevicesResponse:
        self.asked.append(asked)
        if self.refuses in [each.device for each in asked.devices]:
            raise ListError(self.refuses)
        if asked.check:
            return PutDevicesResponse()
        told = [
            PutDeviceResponse(
                password="geheim" if each.make_password else "",
                certificate_der=b"crt" if each.make_key else b"",
                key_der=b"key" if each.make_key else b"",
                not_after_unix_nano=1_800_000_000 * 10**9,
            )
            for each in asked.devices
        ]
        return PutDevicesResponse(devices=told, ca_der=b"ca", in_force=True)


def test_both_commands_read_lists_the_same_way() -> None:
    texts = [Path(module.__file__ or "").read_text() for module in (agent.cli.device_list, central.cli.device_list)]
    assert texts[0] == texts[1]


def test_every_column_arrives_and_an_empty_cell_leaves_things_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "gate.csr").write_bytes(b"\x30der")
    full, bare = read(
        tmp_path,
        "id,zone,class,protocol,group,silent_after,credential\n"
        "gate,entry,door,sparkplug,shop,60,gate.csr\n"
        "bare,,,,,,\n",
    )
    asked = full.request
    assert (asked.device, asked.zone, asked.device_class, asked.group) == ("gate", "entry", "door", "shop")
    assert (asked.protocol, asked.silent_after_seconds, asked.csr_der) == (DEVICE_PROTOCOL_SPARKPLUG, 60, b"\x30der")
    assert bare.request == PutDeviceRequest(device="bare", keep=True)


def test_columns_may_be_left_out_and_a_spreadsheet_may_have_written_it(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "\ufeffid,credential\r\nscale,password\r\n")
    assert row.request == PutDeviceRequest(device="scale", keep=True, make_password=True)
    (row,) = read(tmp_path, "credential,id\nkey,scale\n")
    assert row.request.make_key


def test_every_wrong_line_is_named_and_none_is_used(tmp_path: Path) -> None:
    with pytest.raises(ListError) as refusal:
        read(
            tmp_path,
            "id,zone,silent_after,protocol,credential\n"
            "a,x,soon,,\n"
            "b,x,1,modbus,\n"
            "a\n"
            ",x,1,,\n"
            "c,x,1,,c.csr\n"
            "d,x,1,,\n"
            "d,x,1,,\n",
        )
    lines = str(refusal.value).splitlines()
    assert "nothing was done" in lines[0]
    assert [line.split(":")[0] for line in lines[1:]] == [f"line {number}" for number in (2, 3, 4, 5, 6, 8)]
    assert "d stands in line 7 already" in lines[-1]
    with pytest.raises(ListError, match="and 90 more"):
        read(tmp_path, "id,silent_after\n" + "x,y\n" * 100)


@pytest.mark.parametrize("text", ["", "name\nx\n", "id,colour\nx,red\n", "id\n", 'id\n"open'])
def test_a_file_that_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ListError):
        read(tmp_path, text)


def test_a_file_that_can_not_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ListError, match=r"none\.csv"):
        device_list.read(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"id\n\xff\xfe\n")
    with pytest.raises(ListError, match="binary"):
        device_list.read(tmp_path / "binary.csv")


def test_requests_are_read_as_pem_and_as_der(tmp_path: Path) -> None:
    (tmp_path / "a.der").write_bytes(b"\x30\x82")
    (tmp_path / "a.pem").write_text(device_list.pem("CERTIFICATE REQUEST", bytes(range(200))))
    (tmp_path / "new.pem").write_text(device_list.pem("NEW CERTIFICATE REQUEST", b"\x30"))
    assert device_list.csr(tmp_path / "a.der") == b"\x30\x82"
    assert device_list.csr(tmp_path / "a.pem") == bytes(range(200))
    assert device_list.csr(tmp_path / "new.pem") == b"\x30"
    (tmp_path / "key.pem").write_text(device_list.pem("PRIVATE KEY", b"\x30"))
    (tmp_path / "torn.pem").write_text("-----BEGIN CERTIFICATE REQUEST-----\nA\n")
    for name, why in (("key.pem", "no certificate request"), ("torn.pem", "no PEM"), ("none", "none")):
        with pytest.raises(ListError, match=why):
            device_list.csr(tmp_path / name)


def test_all_is_checked_before_the_first_is_done_and_batches_fit_a_call(tmp_path: Path) -> None:
    rows = [Row(number, PutDeviceRequest(device=f"d{number}", csr_der=b"x" * 4000)) for number in range(300)]
    node = Node()
    told, in_force = device_list.put(rows, node, tmp_path)
    half = len(node.asked) // 2
    assert in_force and [row["id"] for row in told] == [f"d{number}" for number in range(300)]
    assert [asked.check for asked in node.asked] == [True] * half + [False] * half
    held = [{each.hold for each in asked.devices} for asked in node.asked[half:]]
    assert held == [{True}] * (half - 1) + [{False}], "the broker is told once"
    assert all(asked.ByteSize() < 110 * 1024 and len(asked.devices) <= 128 for asked in node.asked)
    stubborn = Node(refuses="d299")
    with pytest.raises(ListError):
        device_list.put(rows, stubborn, tmp_path)
    assert all(asked.check for asked in stubborn.asked)


def test_certificates_need_a_place_before_anything_is_asked(tmp_path: Path) -> None:
    node = Node()
    with pytest.raises(ListError, match="--out"):
        device_list.put([Row(2, PutDeviceRequest(device="d", make_key=True))], node, None)
    assert node.asked == []


def test_what_devices_are_handed_is_in_files_that_only_the_owner_may_read(tmp_path: Path) -> None:
    rows = [
        Row(2, PutDeviceRequest(device="gate", make_key=True)),
        Row(3, PutDeviceRequest(device="scale", make_password=True)),
        Row(4, PutDeviceRequest(device="hub")),
    ]
    out = tmp_path / "deep" / "out"
    told, _ = device_list.put(rows, Node(), out)
    path = device_list.write_result(told, out)
    assert path.read_text().splitlines() == [
        "id,credential,user,password,certificate,key,not_after",
        f"gate,certificate,,,{out}/gate.crt,{out}/gate.key,2027-01-15T08:00:00Z",
        "scale,password,scale,geheim,,,",
        "hub,unchanged,,,,,",
    ]
    assert {each.name: each.stat().st_mode & 0o777 for each in out.iterdir()} == {
        "ca.crt": 0o644, "gate.crt": 0o644, "gate.key": 0o600, "devices.csv": 0o600
    }  # fmt: skip
    assert base64.b64encode(b"key").decode() in (out / "gate.key").read_text()


def test_a_place_that_takes_no_files_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ListError, match="file"):
        device_list.write_result([], tmp_path / "file")
    with pytest.raises(ListError, match="file"):
        device_list.keep("d", PutDeviceResponse(certificate_der=b"x"), b"ca", tmp_path / "file")
