"""agent/jobs/images/child.py."""

import os
import sys
from pathlib import Path

import pytest

from agent.errors import AwayError, CorruptError
from agent.jobs.images.child import run, size_of

MIB = 1 << 20


async def python(place: Path, code: str, **bounds: float) -> int:
    limits = {"file_bytes": MIB, "more_bytes": 4 * MIB, "stall_seconds": 10.0, **bounds}
    return await run([sys.executable, "-I", "-c", code], place, **limits)  # type: ignore[arg-type]  # figures


async def test_what_it_says_is_kept_and_its_code_given(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), os.environ['HOME'], len(os.environ)); sys.exit('no')"
    assert await python(tmp_path, code) == 1
    assert (tmp_path / "out").read_text().split()[:2] == [str(tmp_path)] * 2
    assert (tmp_path / "err").read_text() == "no\n"


async def test_a_file_that_grows_too_long_stops_there(tmp_path: Path) -> None:
    assert await python(tmp_path, "open('f', 'wb').write(bytes(3 << 20))") != 0
    assert (tmp_path / "f").stat().st_size <= MIB


async def test_many_files_that_are_too_much_together_end_it(tmp_path: Path) -> None:
    code = "import time\nfor n in range(99): open(str(n), 'wb').write(bytes(1 << 19)); time.sleep(0.02)"
    with pytest.raises(CorruptError):
        await python(tmp_path, code, more_bytes=2 * MIB)
    assert size_of(tmp_path) < 20 * MIB


async def test_one_that_moves_nothing_is_ended(tmp_path: Path) -> None:
    with pytest.raises(AwayError, match=r"no byte came for 0\.3 s"):
        await python(tmp_path, "import time; time.sleep(60)", stall_seconds=0.3)
    assert Path(f"/proc/self/task/{os.getpid()}/children").read_text() == ""


def test_very_many_files_count_as_too_many_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert size_of(tmp_path) == 5 + len("/etc/passwd")
    for number in range(5001):
        (tmp_path / "a" / str(number)).touch()
    assert size_of(tmp_path) > 1 << 50
