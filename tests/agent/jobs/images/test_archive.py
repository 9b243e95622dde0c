"""agent/jobs/images/archive.py, run as the program that it is."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from agent.jobs.images import archive

HEX = "ab" * 32


def write(path: Path, *members: tuple[str, bytes | str]) -> Path:
    """Content as bytes; a string is where a link points."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size, entry.mode = len(content), 0o4777
                tar.addfile(entry, io.BytesIO(content))
    return path


def run(path: Path, directory: Path) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-I", archive.__file__, str(path), str(directory)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)


def there(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_a_layouts_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    hostile = ("../escaped", "/tmp/escaped", "blobs/sha256/../../../escaped", f"blobs/sha512/{HEX}", "oci-layout")
    path = tmp_path / "a.tar"
    write(path, ("index.json", b"{}"), (f"./blobs/sha256/{HEX}", b"blob"), *((name, b"x") for name in hostile))
    done = run(path, tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert there(tmp_path / "out") == {"index.json": b"{}", f"blobs/sha256/{HEX}": b"blob"}
    assert not (tmp_path / "escaped").exists()
    assert (tmp_path / "out/index.json").stat().st_mode & 0o7777 == 0o600


def test_links_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    path = write(tmp_path / "a.tar", (f"blobs/sha256/{HEX}", "/etc/passwd"), ("index.json", "/etc/passwd"))
    assert run(path, tmp_path / "out").returncode == 0
    assert there(tmp_path / "out") == {}


@pytest.mark.parametrize(
    "members", [(("index.json", b"1"), ("index.json", b"2")), (("index.json", b"1" * 5000),)], ids=["twice", "cut"]
)
def test_a_name_that_comes_twice_and_an_end_that_is_missing_are_refused(
    tmp_path: Path, members: tuple[tuple[str, bytes], ...]
) -> None:
    (tmp_path / "out").mkdir()
    path = write(tmp_path / "a.tar", *members)
    if len(members) == 1:
        path.write_bytes(path.read_bytes()[:2000])
    done = run(path, tmp_path / "out")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
