"""agent/identity/child.py; that a child doesn't outlive who asked is in test_keys.py."""

from pathlib import Path

import pytest

from agent.errors import AwayError, RefusedError, StorageError
from agent.identity import child


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [(3, RefusedError, "no: why"), (4, StorageError, "why"), (1, RuntimeError, r"child\.py verb ended with 1: why")],
)
async def test_an_exit_code_says_whose_turn_it_is(tmp_path: Path, code: int, kind: type[Exception], said: str) -> None:
    program = tmp_path / "child.py"
    program.write_text(f"import sys; sys.stderr.write('noise\\nwhy\\n'); sys.exit({code})")
    with pytest.raises(kind, match=said):
        await child.ask(program, b"", "verb", refusal="no")


async def test_a_child_that_is_killed_or_that_cannot_be_started_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "child.py"
    program.write_text("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(AwayError, match=r"child\.py verb was killed by signal 9"):
        await child.ask(program, b"", "verb", refusal="no")
    monkeypatch.setattr(child.sys, "executable", str(tmp_path / "none"))
    with pytest.raises(AwayError, match=r"child\.py verb can't be started"):
        await child.ask(program, b"", "verb", refusal="no")


async def test_a_child_reads_what_it_is_given_and_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    program = tmp_path / "child.py"
    program.write_text("import os, sys; print(sys.stdin.read(), sys.argv[1:], 'SECRET' in os.environ)")
    assert await child.ask(program, b"in", "verb", "word", refusal="no") == b"in ['verb', 'word'] False\n"


async def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "child.py"
    program.write_text("import signal; signal.pause()")
    monkeypatch.setattr(child, "_TIMEOUT_SECONDS", 0.3)
    with pytest.raises(AwayError, match=r"child\.py verb took longer"):
        await child.ask(program, b"", "verb", refusal="no")
