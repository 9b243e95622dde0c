"""[[rule]] of the applied file."""

from typing import Any

import pytest

from central import bounds
from central.cli.document import parse
from storeedge.v1.desired_pb2 import RESIDENCY_STORE, DeadBand, DeviceRule

FULL = """
[[rule]]
filter = "spBv1.0/#"
forward = false
residency = "store"
priority = 7
max_payload = "4KiB"
dead_band = { field = "a.b", delta = 0.5 }
sample_every = 10
max_per_minute = 60
latest = "30s"
redact = ["patient.name", "user"]
undecoded = true
"""


def test_every_key_becomes_a_field() -> None:
    (found,) = parse(FULL).desired.rules
    assert found == DeviceRule(
        filter="spBv1.0/#",
        residency=RESIDENCY_STORE,
        priority=7,
        max_payload_bytes=4096,
        dead_band=DeadBand(field="a.b", delta=0.5),
        sample_every=10,
        max_per_minute=60,
        latest_seconds=30,
        redact=["patient.name", "user"],
        undecoded=True,
    )
    assert bounds.violation(found) is None


def test_what_is_not_said_forwards_everything_at_once() -> None:
    (found,) = parse('[[rule]]\nfilter = "#"').desired.rules
    assert found == DeviceRule(filter="#", forward=True, residency="RESIDENCY_ANY", priority=5)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('filter = "other/#"', "filter: an MQTT filter that begins"),
        ('filter = "devicesX"', "filter: an MQTT filter that begins"),
        ("dead_band = { delta = 0 }", "dead_band: delta: a number above 0, not 0"),
        ("dead_band = { delta = nan }", "dead_band: delta: a number above 0, not nan"),
        ("dead_band = { delta = true }", "dead_band: delta: a number above 0, not True"),
        ('dead_band = { field = "a..b", delta = 1 }', "dead_band: field: a name in a JSON object"),
        ('dead_band = { field = "a" }', "dead_band: delta: is missing"),
        ("redact = []", "redact: a list of 1..16 names"),
        ('redact = [""]', "redact: a name in a JSON object"),
        ("sample_every = 0", "sample_every: a number in 1..1000000, not 0"),
        ('max_payload = "1MiB"', "max_payload: bytes, or"),
        ('batch = "2d"', "batch: seconds, or"),
        ('lastest = "3s"', "unknown key 'lastest'; did you mean 'latest'?"),
    ],
)
def test_a_mistake_is_told_by_key_and_what_is_allowed(line: str, said: str) -> None:
    source = line if line.startswith("filter") else f'filter = "#"\n{line}'
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what is tested
        parse(f"[[rule]]\n{source}")
    assert str(caught.value).partition("): ")[2].startswith(said), str(caught.value)


def test_latest_and_batch_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"\[\[rule\]\] \(#\): batch: not together with latest"):
        parse('[[rule]]\nfilter = "#"\nlatest = 1\nbatch = 1')


@pytest.mark.parametrize(
    ("field", "value"),
    [("priority", 10), ("max_per_minute", 60_001), ("sample_every", 1_000_001), ("latest_seconds", 86_401),
     ("batch_seconds", 86_401), ("max_payload_bytes", (128 << 10) + 1), ("redact", ["x"] * 17),
     ("dead_band", DeadBand(field="x" * 129)), ("filter", "x" * 513)],
)  # fmt: skip
def test_central_refuses_what_is_out_of_bounds(field: str, value: Any) -> None:
    found = bounds.violation(DeviceRule(**{"filter": "#", field: value}))
    assert found is not None and found.startswith(field)
