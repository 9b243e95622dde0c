"""agent/mqtt/access/identities.py; the CA is the real one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from agent.clock import Clock
from agent.errors import AwayError, RefusedError, StorageError
from agent.model import Credential
from agent.mqtt.access.accounts import Accounts
from agent.mqtt.access.accounts_file import AccountsFile
from agent.mqtt.access.ca import DeviceCa
from agent.mqtt.access.identities import Identities
from agent.orders import DeviceOrder, NewCredential

NOW = 1_800_000_000 * 10**9
KEY, PASSWORD, NONE = NewCredential.KEY, NewCredential.PASSWORD, NewCredential.NONE


class Shop:
    """Identities, and what the broker was told."""

    def __init__(self, directory: Path) -> None:
        clock = Clock("boot", lambda: NOW, lambda: 0)
        self.broker_dir = directory / "broker"
        self.broker_dir.mkdir()
        self.accounts = Accounts(AccountsFile(directory / "accounts.db", clock.wall_nano))
        self.away = False
        self.told: list[dict[str, Credential]] = []
        self.heard_of = {"stranger"}
        ca = DeviceCa(directory, self.broker_dir, clock)
        self.identities = Identities(
            self.accounts, ca, b"s" * 32, clock, apply_access=self._apply, forget_device=self._forget
        )

    async def _apply(self) -> None:
        if self.away:
            raise AwayError("no broker")
        self.told.append({account.id: account.credential for account in self.accounts.all()})

    def _forget(self, device: str) -> bool:
        known = device in self.heard_of
        self.heard_of.discard(device)
        return known

    async def password(self, device: str, *, keep: bool = False) -> str:
        issued = await self.identities.put([DeviceOrder(device, credential=PASSWORD, keep=keep)])
        return issued.identities[0].password

    def revoked(self) -> int:
        return len(list(x509.load_pem_x509_crl((self.broker_dir / "revoked.crl").read_bytes())))


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    await shop.accounts.open()
    yield shop
    await shop.accounts.close()


async def test_when_it_is_answered_the_broker_knows_the_device(shop: Shop) -> None:
    issued = await shop.identities.put([DeviceOrder("gate", zone="entry", credential=KEY)])
    (identity,) = issued.identities
    account = shop.accounts.get("gate")
    assert account is not None and issued.in_force
    assert shop.told == [{"gate": Credential.CERTIFICATE}]
    leaf = x509.load_der_x509_certificate(identity.certificate_der)
    assert account.certificate_serial == f"{leaf.serial_number:x}"
    assert account.certificate_not_after_unix_nano == identity.not_after_unix_nano
    leaf.verify_directly_issued_by(x509.load_der_x509_certificate(issued.ca_der))


async def test_a_broker_that_is_away_takes_nothing_from_the_account(shop: Shop) -> None:
    shop.away = True
    issued = await shop.identities.put([DeviceOrder("gate", credential=PASSWORD)])
    assert not issued.in_force and issued.identities[0].password
    assert not await shop.identities.revoke("gate", forget=False)
    assert [account.credential for account in shop.accounts.all()] == [Credential.REVOKED]


async def test_a_new_password_ends_the_one_before_and_a_kept_one_is_told_again(shop: Shop) -> None:
    first = await shop.password("d")
    assert await shop.password("d", keep=True) == first
    second = await shop.password("d")
    assert second != first and await shop.password("e") not in (first, second)
    await shop.identities.revoke("d", forget=True)
    assert await shop.password("d") not in (first, second)


async def test_what_is_only_described_anew_keeps_its_identity(shop: Shop) -> None:
    password = await shop.password("d")
    issued = await shop.identities.put([DeviceOrder("d", zone="cold", credential=NONE)])
    account = shop.accounts.get("d")
    assert account is not None and account.zone == "cold" and shop.identities.password(account) == password
    assert (issued.ca_der, issued.identities[0].password) == (b"", "")


async def test_a_renewed_certificate_leaves_the_one_before_until_it_is_revoked(shop: Shop) -> None:
    await shop.identities.ensure_ca()
    for _ in range(2):
        await shop.identities.put([DeviceOrder("gate", credential=KEY)])
    assert shop.revoked() == 0
    assert await shop.identities.revoke("gate", forget=False)
    assert (shop.told[-1], shop.revoked()) == ({"gate": Credential.REVOKED}, 2)


async def test_who_gets_a_password_instead_has_no_good_certificate_left(shop: Shop) -> None:
    await shop.identities.put([DeviceOrder("gate", credential=KEY)])
    await shop.password("gate")
    assert shop.revoked() == 1


async def test_revoked_is_who_was_registered_and_forgotten_also_who_was_only_heard_of(shop: Shop) -> None:
    with pytest.raises(RefusedError) as refusal:
        await shop.identities.revoke("nobody", forget=True)
    assert refusal.value.reason == "NOT_FOUND"
    with pytest.raises(RefusedError):
        await shop.identities.revoke("stranger", forget=False)
    assert await shop.identities.revoke("stranger", forget=True) and shop.heard_of == set()


async def test_of_many_orders_one_bad_request_stops_all_and_a_check_does_nothing(shop: Shop) -> None:
    bad = DeviceOrder("b", credential=NewCredential.CSR, csr_der=b"junk")
    for check in (True, False):
        with pytest.raises(RefusedError, match="b: not a certificate request"):
            await shop.identities.put([DeviceOrder("a", credential=KEY), bad], check=check)
    assert (await shop.identities.put([DeviceOrder("a", credential=KEY)], check=True)).identities == ()
    assert (await shop.identities.put([DeviceOrder("a")], check=True)).identities == ()
    assert (shop.accounts.all(), shop.told) == ((), [])


async def test_of_many_that_are_held_the_broker_hears_once(shop: Shop) -> None:
    for number, hold in enumerate((True, True, False)):
        issued = await shop.identities.put([DeviceOrder(f"d{number}", credential=PASSWORD, hold=hold)])
        assert issued.in_force is not hold
    assert [sorted(told) for told in shop.told] == [["d0", "d1", "d2"]]


async def test_what_is_held_is_listed_as_revoked_with_the_next_change_also_while_the_broker_is_away(shop: Shop) -> None:
    await shop.identities.ensure_ca()
    await shop.identities.put([DeviceOrder("gate", credential=KEY)])
    await shop.identities.put([DeviceOrder("gate", credential=PASSWORD, hold=True)])
    assert shop.revoked() == 0
    shop.away = True
    assert not (await shop.identities.put([DeviceOrder("other")])).in_force
    assert shop.revoked() == 1


async def test_orders_at_the_same_time_get_different_passwords(shop: Shop) -> None:
    passwords = await asyncio.gather(*(shop.password(f"d{number % 2}") for number in range(6)))
    assert len(set(passwords)) == 6
    assert shop.identities.password(shop.accounts.all()[0]) in passwords


async def test_a_full_disk_gives_nobody_an_identity(shop: Shop, tmp_path: Path) -> None:
    await shop.accounts.close()
    (tmp_path / "accounts.db").unlink()
    (tmp_path / "accounts.db").mkdir()
    with pytest.raises(StorageError):
        await shop.identities.put([DeviceOrder("gate", credential=KEY)])
    assert (shop.accounts.all(), shop.told) == ((), [])
