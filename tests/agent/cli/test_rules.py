"""agent/cli/rules.py."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.__main__ import main

RULES = """
[[rule]]
filter = "devices/+/camera/#"
residency = "store"

[[rule]]
filter = "devices/#"
redact = ["who"]
latest = "1m"
max_per_minute = 60
sample_every = 10
dead_band = { field = "t", delta = 0.5 }

[[rule]]
filter = "zigbee2mqtt/#"
batch = "5m"
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return str(path)


def test_a_good_file_is_ok(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "check", file]) == 0
    assert capsys.readouterr().out == f"{file}: ok, 3 rules\n"


def test_each_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\nfilter = "+/camera/#"\n[[rule]]\nfilter = "#"\npriority = 10\n')
    assert main(["rules", "check", str(path)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and [line.split(" ")[0] for line in said.err.splitlines()] == [f"{path}:1:", f"{path}:3:"]
    assert main(["rules", "try", str(path), "devices/d/t"]) == 1


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "check", str(tmp_path / "none.toml")]) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("topic", "payload", "said"),
    [
        ("devices/d/camera/1", "x", "rule: 1 (devices/+/camera/#)\nforwarded: no: stays in the store\n"),
        (
            "devices/d/t",
            '{"t": 1, "who": "x"}',
            (
                "rule: 2 (devices/#)\n"
                "forwarded: only the newest of each 60 s, with priority 5; then when 't' has moved by 0.5;"
                " then each 10th; at most 60 a minute\n"
                'payload: {"t":1}\n'
            ),
        ),
        ("devices/d/t", "x", "rule: 2 (devices/#)\nforwarded: no: no JSON object to redact\n"),
        (
            "zigbee2mqtt/lamp",
            "x",
            (
                "rule: 3 (zigbee2mqtt/#)\nforwarded: held, and sent together after 300 s, with priority 5\n"
                "payload: as it is\n"
            ),
        ),
        (
            "spBv1.0/g/NDATA/n",
            "x",
            "rule: none of this file; central's are asked next\nforwarded: at once, as it is, with priority 5\n",
        ),
    ],
)
def test_which_rule_decides_and_what_comes_out(
    file: str, topic: str, payload: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rules", "try", file, topic, payload]) == 0
    assert capsys.readouterr().out == said


def test_a_payload_may_come_from_standard_input(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b'{"who": 1}')))
    assert main(["rules", "try", file, "devices/d/t", "-"]) == 0
    assert capsys.readouterr().out.endswith("payload: {}\n")


def test_a_topic_of_no_device_is_told(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "try", file, "other/d"]) == 1
    assert "no topic of a device" in capsys.readouterr().err
