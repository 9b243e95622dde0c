"""The rules that people on site write."""

from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.link.desired_rule import rule as from_wire
from agent.mqtt.rules.operators_file import parse, read
from agent.spec import DeadBand, DeviceRule, Residency
from central.cli import document
from central.cli.document_rule import RULE

FULL = """
# the cameras
[[rule]]
filter = "devices/+/camera/#"
residency = "store"

[[rule]]
filter = "spBv1.0/#"
forward = false
priority = 7
max_payload = "4KiB"
dead_band = { field = "a.b", delta = 0.5 }
sample_every = 10
max_per_minute = 60
latest = "30s"
redact = ["patient.name", "user"]
undecoded = true

[[rule]]
filter = "#"
batch = "5m"
dead_band = { delta = 2 }
"""


def test_every_key_becomes_a_field() -> None:
    assert parse(FULL, "f") == (
        DeviceRule("devices/+/camera/#", residency=Residency.STORE),
        DeviceRule(
            "spBv1.0/#", forward=False, priority=7, max_payload_bytes=4096, dead_band=DeadBand("a.b", 0.5),
            sample_every=10, max_per_minute=60, latest_seconds=30, redact=("patient.name", "user"), undecoded=True,
        ),
        DeviceRule("#", batch_seconds=300, dead_band=DeadBand("", 2.0)),
    )  # fmt: skip


def test_edgectl_apply_takes_the_same_words_and_means_the_same() -> None:
    assert all(key in FULL for key in RULE)
    assert tuple(from_wire(each) for each in document.parse(FULL).desired.rules) == parse(FULL, "f")


@pytest.mark.parametrize(
    "line",
    [
        'filter = "other/#"',
        'filter = "devices/a#"',
        "filter = 3",
        'forward = "yes"',
        'residency = "Store"',
        "residency = []",
        "priority = 10",
        "priority = true",
        'max_payload = "4KB"',
        'max_payload = "1MiB"',
        "max_payload = 0",
        "dead_band = 0.5",
        "dead_band = { delta = 0 }",
        "dead_band = { delta = true }",
        "dead_band = { delta = 1, feld = 'x' }",
        "dead_band = { delta = 1, field = 'a..b' }",
        "sample_every = 0",
        "max_per_minute = 60001",
        "redact = []",
        'redact = "a"',
        'redact = [""]',
        'redact = ["a", 1]',
        'latest = "2d"',
        'latest = "1 m"',
        "batch = 1.5",
        "undecoded = 1",
        'lastest = "3s"',
        'latest = 1\nbatch = "1s"',
    ],
)
def test_what_one_refuses_the_other_refuses_too(line: str) -> None:
    source = "[[rule]]\n" + (line if line.startswith("filter") else f'filter = "#"\n{line}')
    key = line.rpartition("\n")[2].partition(" =")[0]
    with pytest.raises(ConfigError, match=rf"^f:1: \[\[rule\]\] 1.*: .*{key}"):
        parse(source, "f")
    if "a#" not in line:  # central leaves the finer points of filters to the node
        with pytest.raises(ValueError, match=key):
            document.parse(source)


def test_each_rule_that_is_wrong_is_told_with_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        parse('# a\n[[rule]]\nfilter = "x"\n\n[[rule]]\nfilter = "#"\n  [[ rule ]]\nfilter = "#"\npriority = 99\n', "f")
    first, second = str(caught.value).splitlines()
    assert first.startswith("f:2: [[rule]] 1 (x): filter: must begin with devices/")
    assert second == "f:7: [[rule]] 3 (#): priority: a number in 0..9, not 99"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[rule]\n", "f:1: "),
        ("[rule]\nfilter = '#'", "f: rule: written in double brackets"),
        ("rule = 3", "f: rule: written in double brackets"),
        ("rule = [1]", "f: [[rule]] 1: a table with filter"),
        ("[mqtt]\n", "f: 'mqtt': unknown; allowed: [[rule]]"),
        ("[[rule]]\n", "f:1: [[rule]] 1: filter: is missing"),
        ("[[rule]]\nfilter = '#'\n" * 257, "f: rule: written in double brackets, [[rule]], at most 256"),
        (f"x = {'9' * 5000}", "f: is not TOML"),
        ("[[rule]]\nfilter = '\\u001b[2J'\n".replace("'", '"'), "f:1: [[rule]] 1 (\\x1b[2J): filter:"),
    ],
)
def test_a_file_of_another_kind_is_told(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f")
    assert str(caught.value).startswith(said)


def test_a_file_is_read_and_no_file_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    assert read(path) == ""
    path.write_text(FULL)
    assert read(path) == FULL
    for content, said in ((b"\xff", "is not UTF-8"), (bytes(2 << 20), "is over")):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=said):
            read(path)
    with pytest.raises(ConfigError, match="can't be read"):
        read(path / "below")
