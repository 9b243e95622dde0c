"""central/cli/devices.py."""

import json
from typing import Any

import pytest

from storeedge.v1 import agent_pb2 as wire
from tests.central.cli.test_device import Nodes, edgectl, nodes

__all__ = ["edgectl", "nodes"]


def test_all_pages_are_shown_with_what_is_known_there(
    edgectl: Any, nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edgectl("devices", "s/n", "--zone", "cold", "--silent") == 0
    assert [asked.zone for _, asked in nodes.asked if isinstance(asked, wire.ListDevicesRequest)] == ["cold"] * 3
    said = capsys.readouterr().out
    assert "3 devices shown; 3 known there, 1 online" in said and "certificate until 2027-01-15" in said
    assert edgectl("--json", "devices", "s/n") == 0
    told = json.loads(capsys.readouterr().out)
    assert ([each["id"] for each in told["devices"]], told["total"]) == (["d0", "d1", "d2"], 3)


def test_one_device_is_shown_with_its_values(edgectl: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert edgectl("devices", "s/n", "--device", "d2") == 0
    said = capsys.readouterr().out
    assert "last values" in said and "4.5" in said
