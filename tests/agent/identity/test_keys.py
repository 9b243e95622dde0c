"""agent/identity/keys.py."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import RefusedError, StorageError
from agent.identity import keys
from tests.fakes.authority import NODE_ID, Fleet


async def test_a_key_is_made_and_a_certificate_checked_in_a_child(tmp_path: Path) -> None:
    fleet = Fleet()
    csr = await keys.make(tmp_path / "key.pem", NODE_ID)
    facts = await keys.check(tmp_path / "key.pem", fleet.certify(csr), fleet.bundle)
    assert facts.uris == (NODE_ID,)
    assert facts.not_before_unix_nano < facts.not_after_unix_nano


async def test_a_bad_certificate_is_refused_in_words(tmp_path: Path) -> None:
    csr = await keys.make(tmp_path / "key.pem", NODE_ID)
    with pytest.raises(RefusedError, match="not usable: the chain does not lead to a root"):
        await keys.check(tmp_path / "key.pem", Fleet().certify(csr), Fleet("else.example").bundle)


async def test_a_disk_that_refuses_is_told_from_a_bad_certificate(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file or directory"):
        await keys.make(tmp_path / "missing" / "key.pem", NODE_ID)


async def test_a_broken_child_is_a_bug_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "child.py"
    broken.write_text("raise ZeroDivisionError('oh')")
    monkeypatch.setattr(keys, "_CHILD", broken)
    with pytest.raises(RuntimeError, match=r"child\.py make ended with 1: ZeroDivisionError: oh"):
        await keys.make(tmp_path / "key.pem", NODE_ID)


async def test_a_child_does_not_outlive_who_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, marker = tmp_path / "child.py", tmp_path / "pid"
    slow.write_text(
        f"import os, pathlib, signal\npathlib.Path({str(marker)!r}).write_text(str(os.getpid()))\nsignal.pause()"
    )
    monkeypatch.setattr(keys, "_CHILD", slow)

    async def started() -> int:
        while not (marker.exists() and marker.read_text()):
            await asyncio.sleep(0.01)
        return int(marker.read_text())

    async with asyncio.TaskGroup() as group:
        asked = group.create_task(keys.make(tmp_path / "key.pem", NODE_ID))
        pid = await started()
        asked.cancel()
    assert not Path(f"/proc/{pid}").exists()


def test_the_daemons_side_of_identity_imports_neither_cryptography_nor_enrolment() -> None:
    code = (
        "import sys, agent.identity.keys, agent.identity.store, agent.identity.tls, agent.identity.renew,"
        " agent.identity.refusals\n"
        "print([m for m in ('cryptography', 'agent.identity.enrol', 'agent.identity.keychild') if m in sys.modules])"
    )
    top = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{top}:{top / 'proto'}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
