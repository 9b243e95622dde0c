"""What each field of a rule takes."""

import math
from dataclasses import replace
from typing import Any

import pytest

from agent.mqtt.rules.words import wrong
from agent.spec import DeadBand, DeviceRule

GOOD = DeviceRule(
    "devices/#", max_per_minute=60_000, sample_every=1_000_000, latest_seconds=86_400,
    dead_band=DeadBand("a.b", 0.1), max_payload_bytes=128 << 10, redact=("x" * 128,) * 16,
)  # fmt: skip


@pytest.mark.parametrize("text", ["#", "devices/#", "devices", "spBv1.0/+/NDATA/#", "homeassistant/#", "zigbee2mqtt/a"])
def test_a_filter_may_begin_with_what_devices_publish_on(text: str) -> None:
    assert wrong(replace(GOOD, filter=text)) is None


@pytest.mark.parametrize(
    "text",
    ["", "devices/a#", "devices/#/a", "devices/a+/b", "+/camera/#", "fridge-1/#", "$share/g/devices/#", "devicesX/#",
     "devices/" + "x" * 505, "devices/a\0"],
)  # fmt: skip
def test_a_filter_that_can_match_nothing_is_wrong(text: str) -> None:
    found = wrong(replace(GOOD, filter=text))
    assert found is not None and found.field == "filter"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("priority", 10, "priority"),
        ("priority", -1, "priority"),
        ("max_per_minute", 60_001, "max_per_minute"),
        ("sample_every", 1_000_001, "sample_every"),
        ("latest_seconds", 86_401, "latest_seconds"),
        ("batch_seconds", 1, "batch_seconds"),  # with latest_seconds
        ("max_payload_bytes", (128 << 10) + 1, "max_payload_bytes"),
        ("dead_band", DeadBand("", 0.0), "dead_band.delta"),
        ("dead_band", DeadBand("", -1.0), "dead_band.delta"),
        ("dead_band", DeadBand("", math.nan), "dead_band.delta"),
        ("dead_band", DeadBand("", math.inf), "dead_band.delta"),
        ("dead_band", DeadBand("a..b", 1.0), "dead_band.field"),
        ("dead_band", DeadBand("x" * 129, 1.0), "dead_band.field"),
        ("redact", ("a",) * 17, "redact"),
        ("redact", ("",), "redact"),
        ("redact", ("a.",), "redact"),
    ],
)
def test_a_value_out_of_bounds_is_told_by_its_field(field: str, value: Any, told: str) -> None:
    assert wrong(GOOD) is None
    found = wrong(replace(GOOD, **{field: value}))
    assert found is not None and found.field == told
