"""agent/mqtt/access/accounts_file.py."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import StorageError
from agent.model import Credential, DeviceProtocol
from agent.mqtt.access.accounts import DAY_NANO, Account, IssuedCertificate
from agent.mqtt.access.accounts_file import AccountsFile

NOW = 1_800_000_000 * 10**9
FULL = Account(
    "gate", "entry", "door", DeviceProtocol.SPARKPLUG, "shop", Credential.CERTIFICATE, 7, "ab12", NOW, 60, NOW - 1
)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[AccountsFile]:
    opened = AccountsFile(tmp_path / "accounts.db", lambda: NOW)
    yield opened
    opened.close()


def test_every_field_comes_back(file: AccountsFile) -> None:
    file.put([FULL, Account("a")], [], [])
    file.close()
    assert file.load() == (Account("a"), FULL)


def test_revoked_are_all_earlier_certificates_of_a_device_and_none_of_another(file: AccountsFile) -> None:
    ends = NOW + 5 * DAY_NANO
    file.put([FULL], [IssuedCertificate("1", "gate", ends), IssuedCertificate("2", "gate", ends)], [])
    file.put([Account("b")], [IssuedCertificate("3", "b", ends)], [])
    assert file.revoked(NOW) == ()
    file.put([FULL], [IssuedCertificate("4", "gate", ends)], ["gate"])
    assert file.revoked(NOW) == ("1", "2")
    assert file.revoked(ends + 2 * DAY_NANO) == ()
    assert file.revoked(NOW) == ("1", "2"), "a clock that ran ahead once has taken nothing off the list"


def test_a_forgotten_device_leaves_its_certificates_revoked(file: AccountsFile) -> None:
    file.put([FULL], [IssuedCertificate("1", "gate", NOW + DAY_NANO)], [])
    file.forget("gate")
    assert (file.load(), file.revoked(NOW)) == ((), ("1",))


def test_no_number_of_a_password_is_given_twice_even_when_the_file_was_lost(file: AccountsFile, tmp_path: Path) -> None:
    first, second = file.take_generations(3), file.take_generations(1)
    assert second == first + 3
    file.close()
    (tmp_path / "accounts.db").unlink()
    later = AccountsFile(tmp_path / "accounts.db", lambda: NOW + 3600 * 10**9)
    assert later.take_generations(1) > second
    later.close()


def test_a_file_that_makes_no_sense_is_set_aside(file: AccountsFile, tmp_path: Path) -> None:
    (tmp_path / "accounts.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    assert file.load() == ()
    assert (tmp_path / "accounts.corrupt").exists()
    file.put([FULL], [], [])
    assert file.load() == (FULL,)


def test_a_file_of_a_newer_release_is_left_alone(file: AccountsFile, tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "accounts.db")
    db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(StorageError, match="newer release"):
        file.load()


def test_a_disk_that_fails_is_said(tmp_path: Path) -> None:
    (tmp_path / "accounts.db").mkdir()
    broken = AccountsFile(tmp_path / "accounts.db", lambda: NOW)
    for attempt in (
        broken.load,
        lambda: broken.put([FULL], [], []),
        lambda: broken.forget("gate"),
        lambda: broken.revoked(NOW),
        lambda: broken.take_generations(1),
    ):
        with pytest.raises(StorageError):
            attempt()


def test_two_processes_may_open_a_new_file(tmp_path: Path) -> None:
    one, other = (AccountsFile(tmp_path / "accounts.db", lambda: NOW) for _ in range(2))
    assert (one.load(), other.load()) == ((), ())
    one.put([FULL], [], [])
    assert other.load() == (FULL,)
    one.close()
    other.close()
