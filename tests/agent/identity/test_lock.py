"""agent/identity/lock.py, with a stand-in for systemd-creds and its TPM. The real ones: hil/suite/test_12."""

import os
from pathlib import Path

import pytest

from agent.errors import StorageError
from agent.identity import lock

# Seals by writing the TPM's name before the text; a TPM opens what begins with its own.
CREDS = """#!/bin/sh
test -e "{tpm}" || exit 1
case $1 in
encrypt) cat "{tpm}" - ;;
decrypt) test "$(head -n 1 "$3")" = "$(cat "{tpm}")" || exit 1; tail -n +2 "$3" ;;
esac
"""


@pytest.fixture
def tpm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs, found = tmp_path / "bin", tmp_path / "tpm"
    programs.mkdir()
    (programs / "systemd-creds").write_text(CREDS.format(tpm=found))
    (programs / "systemd-creds").chmod(0o755)
    monkeypatch.setattr(os, "defpath", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setattr(lock, "TPM", found)
    found.write_text("this\n")
    return found


def test_the_secret_is_made_once_and_found_again(tpm: Path, tmp_path: Path) -> None:
    file = tmp_path / "store" / lock.NAME
    secret = lock.ensure(file)
    assert len(secret) >= 32 and lock.ensure(file) == secret
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_another_machine_sealed_is_set_aside(tpm: Path, tmp_path: Path) -> None:
    file = tmp_path / lock.NAME
    secret = lock.ensure(file)
    tpm.write_text("another\n")
    assert lock.opened(file) == b""
    assert lock.ensure(file) not in (b"", secret)
    assert (tmp_path / f".{lock.NAME}.before-1").read_bytes().startswith(b"this\n")


def test_without_a_tpm_there_is_no_secret_and_no_file_that_would_keep_the_unit_from_starting(
    tpm: Path, tmp_path: Path
) -> None:
    file = tmp_path / lock.NAME
    assert lock.ensure(file)
    tpm.unlink()
    assert lock.ensure(file) == b"" and not file.exists()


def test_a_unit_reads_what_systemd_hands_it(tmp_path: Path) -> None:
    assert lock.given({}) == b""
    assert lock.given({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == b""
    (tmp_path / lock.NAME).write_bytes(b"secret")
    assert lock.given({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == b"secret"
    (tmp_path / lock.NAME).unlink()
    (tmp_path / lock.NAME).mkdir()
    with pytest.raises(StorageError, match="edge-agent-key"):
        lock.given({"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_tpm_that_can_not_seal_leaves_a_plain_key(tpm: Path, tmp_path: Path) -> None:
    (tmp_path / "bin/systemd-creds").write_text("#!/bin/sh\nexit 1\n")
    assert lock.ensure(tmp_path / lock.NAME) == b""
    (tmp_path / "bin/systemd-creds").unlink()
    assert lock.ensure(tmp_path / lock.NAME) == b""
    assert not (tmp_path / lock.NAME).exists()
