"""agent/cli/first_boot.py."""

import hashlib
import json
from pathlib import Path

import pytest

from agent.cli.first_boot import Note, told
from agent.clock import Clock

CLOCK = Clock("boot", wall_nano=lambda: 10**18)


def test_the_digest_is_there_before_anything_is_tried_and_the_last_word_is_told(tmp_path: Path) -> None:
    """After a power cut in the moment of success the unit still knows whose token to take away."""
    assert told(tmp_path) is None
    note = Note(tmp_path, b"the file", "/boot/f.toml", CLOCK)
    assert json.loads((tmp_path / "first-boot.json").read_text())["sha256"] == hashlib.sha256(b"the file").hexdigest()
    note.take("refused", "TOKEN_USED")
    found = told(tmp_path)
    assert found is not None
    assert (found.file, found.outcome, found.text) == ("/boot/f.toml", "refused", "TOKEN_USED")
    assert found.time == "2001-09-09T01:46:40Z"


def test_a_full_disk_takes_nothing_from_the_enrolment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Note(tmp_path / "gone", b"", "f", CLOCK)
    assert "can't be written" in caplog.text


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"file": "f"}'])
def test_a_broken_note_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "first-boot.json").write_text(text)
    assert told(tmp_path) is None
