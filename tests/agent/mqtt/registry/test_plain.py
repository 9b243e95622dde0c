"""Last payloads of plain devices, read when somebody asks."""

import pytest

from agent.mqtt.registry.plain import values


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"4.2", {"door/left": 4.2}),
        (b"open", {"door/left": "open"}),
        (b' {"t": 4, "on": true, "list": [1]}', {"t": 4, "on": True}),
        (b"{broken", {}),
        (b"", {}),
        (b" ", {}),
        (b"\xff\x00", {}),
    ],
)
def test_a_payload_says_what_it_can(payload, expected):
    assert {value.name: value.value for value in values("devices/d/door/left", payload)} == expected
