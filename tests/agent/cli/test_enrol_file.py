"""agent/cli/enrol_file.py."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.enrol_file import MAX_BYTES, Wish, parse, read
from agent.errors import ConfigError

FIELDS = {"i": "t1", "s": "s" * 43, "f": "0a" * 32, "n": "berlin-12/edge-1", "d": "shop.example"}
TOKEN = "set1." + base64.urlsafe_b64encode(json.dumps(FIELDS).encode()).rstrip(b"=").decode()
GOOD = f'central = "central.example:8444"\ntoken = "{TOKEN}"\n'


def wrong(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), "f.toml")
    assert TOKEN not in str(caught.value) and FIELDS["s"] not in str(caught.value)
    return str(caught.value)


def test_two_lines_are_enough_and_labels_are_compared_with_the_token() -> None:
    assert parse(GOOD.encode(), "f.toml") == Wish("central.example:8444", TOKEN)
    labels = f'store = "berlin-12"\nnode = "edge-1"\nca = "{":".join(["0A"] * 32)}"\n'
    assert parse((GOOD + labels).encode(), "f.toml") == Wish("central.example:8444", TOKEN)
    assert parse(b"\n".join(GOOD.encode().split(b"\n")).replace(b"\n", b"\r\n"), "f").token == TOKEN  # a PC's editor


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "f.toml: central: is missing; it takes HOST:PORT"),
        (GOOD + 'tokne = "x"\n', "f.toml: tokne: unknown key, did you mean token?; allowed: central, token, store"),
        (GOOD + "store = 12\n", "f.toml: store: is no text in quotes; it takes the store's name"),
        (GOOD + 'node = "edge-2"\n', "f.toml: node: is 'edge-2', but the token is for 'edge-1': is this file for"),
        (GOOD + f'ca = "{"0b" * 32}"\n', "f.toml: ca: is not that of the central that made the token"),
        (GOOD.replace(":8444", ""), "f.toml: central: 'central.example' is not HOST:PORT"),
        (GOOD.replace("set1.", "set2."), "f.toml: token: the token is malformed: it does not begin with 'set1.'"),
        (GOOD + "store = berlin\n", "f.toml:3: "),
        ("[agent]\n", "f.toml: agent: unknown key; allowed"),
        ("x = " + "[" * 9000, "f.toml"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_file_and_field_and_what_it_takes(text: str, told: str) -> None:
    assert wrong(text).startswith(told)


def test_a_large_file_and_one_that_is_no_text_are_refused() -> None:
    assert "larger than 16384 bytes" in wrong("#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="is not UTF-8 at byte 0"):
        parse(b"\xff\xfe", "f.toml")


@given(st.binary(max_size=400))
def test_whatever_is_on_a_stick_is_a_wish_or_a_refusal(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse(data, "f.toml")


def test_only_a_regular_file_is_read_and_never_all_of_a_large_one(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_bytes(b"#" * (MAX_BYTES + 500))
    assert len(read(file)) == MAX_BYTES + 1
    (tmp_path / "link").symlink_to(file)
    for path in (tmp_path / "link", tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match="is no regular file"):
            read(path)
