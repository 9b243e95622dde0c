"""agent/mqtt/access/accounts.py."""

from pathlib import Path

import pytest

from agent.errors import StorageError
from agent.model import Credential
from agent.mqtt.access.accounts import DAY_NANO, Account, Accounts, expiring
from agent.mqtt.access.accounts_file import AccountsFile

NOW = 1_800_000_000 * 10**9


async def test_what_is_told_is_durable_and_whoever_watches_hears_of_each_change(tmp_path: Path) -> None:
    changes: list[int] = []
    accounts = Accounts(AccountsFile(tmp_path / "accounts.db", lambda: NOW))
    accounts.changed = lambda: changes.append(len(accounts.all()))
    await accounts.open()
    await accounts.put([Account("b"), Account("a", zone="cold")])
    assert [account.id for account in accounts.all()] == ["a", "b"]
    await accounts.forget("b")
    assert (accounts.get("b"), changes) == (None, [2, 1])
    await accounts.close()
    again = Accounts(AccountsFile(tmp_path / "accounts.db", lambda: NOW))
    await again.open()
    assert again.get("a") == Account("a", zone="cold")
    await again.close()


async def test_what_the_disk_did_not_take_is_not_told(tmp_path: Path) -> None:
    file = AccountsFile(tmp_path / "accounts.db", lambda: NOW)
    accounts = Accounts(file, changed=lambda: pytest.fail("nothing has changed"))
    await accounts.open()
    await accounts.close()
    (tmp_path / "accounts.db").rename(tmp_path / "gone")
    (tmp_path / "accounts.db").mkdir()
    with pytest.raises(StorageError):
        await accounts.put([Account("a")])
    with pytest.raises(StorageError):
        await accounts.forget("a")
    assert accounts.all() == ()


def test_a_certificate_is_said_to_end_thirty_days_ahead_and_once_a_day() -> None:
    def ends_in(days: float, credential: Credential = Credential.CERTIFICATE) -> Account:
        end = NOW + int(days * DAY_NANO)
        return Account(f"in-{days}", credential=credential, certificate_not_after_unix_nano=end)

    all_of_them = [ends_in(29.5), ends_in(31), ends_in(-2), ends_in(1, Credential.REVOKED), Account("password")]
    said = expiring(all_of_them, NOW, 0)
    assert [event.attributes["device"] for event in said] == ["in-29.5", "in--2"]
    assert "ends in 29 days" in said[0].message and "ended 2 days ago" in said[1].message
    assert expiring(all_of_them, NOW, NOW - DAY_NANO + 1) == ()
    assert expiring(all_of_them, NOW, NOW - DAY_NANO) == said
